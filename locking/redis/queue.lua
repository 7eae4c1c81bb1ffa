-- The queues: standing in them, being granted out of them, and telling who stands in the way. Put behind common.lua.

local stuck = {} -- waiters that couldn't be granted in this round; grants to others never change that
local CROWD = 200 -- so many waiters of one request's names are counted one by one

-- The score that orders a waiter by its priority and its arrival.
local function rank(request)
  return request.ageing and request.arrival + request.priority * request.ageing or request.priority
end

-- Finds the place that a request would have in every queue if it came now.
local function place(request)
  request.arrival = math.min(next_tick(), tonumber(request.arrived) or math.huge)
  request.score = request.state == 'upgrading' and FRONT or rank(request)
end

-- Puts a request into its place in the queue of each of its names, wherever it stood before.
local function stand(request)
  for _, name in ipairs(request.names) do
    for _, queue in ipairs(queues(request, name)) do
      redis.call('ZADD', queue, string.format('%.17g', request.score), member(request, name))
      keep(queue, request.patience + request.lease)
    end
  end
end

-- Makes a waiter of a request that has its place.
local function enqueue(request)
  tick()
  note(request.id, 'doc', request.doc, 'want', request.want_text, 'owner', request.owner, 'state', request.state,
    'arrival', digits(request.arrival), 'score', string.format('%.17g', request.score))
  if unattended(request) then
    redis.call('SADD', P .. 'unattended', request.id)
    keep(P .. 'unattended', request.patience)
  end
  stand(request)
end

-- Lets a waiter live for its patience. An upgrade lives as long as the shared lock below it.
local function be_patient(request)
  if request.state == 'waiting' then
    redis.call('ZADD', P .. 'times', digits(NOW + request.patience), request.id)
    outlive(request, request.patience)
    for _, name in ipairs(request.names) do
      for _, queue in ipairs(queues(request, name)) do
        keep(queue, request.patience)
      end
    end
  end
end

-- Tells a process that its request was granted, or that it missed that; a hint that may be lost.
local function hint(request)
  if request.mailbox ~= '' then
    local box = P .. 'm:' .. request.mailbox
    redis.call('RPUSH', box, request.id)
    redis.call('PEXPIRE', box, 60000)
  end
end

-- Grants a waiter what it asks for: an upgrade for good, all else until it confirms.
local function grant_waiter(request)
  leave_queues(request)
  local upgrade = request.state == 'upgrading'
  grant(request, upgrade and request.lease or math.min(request.provisional, request.lease), not upgrade)
  table.insert(granted, { request.id, request.owner, request.info, request.mailbox })
  hint(request)
end

-- Grants what has become grantable in the queue of one name. Stops at the first exclusive waiter that stays.
local function pump_one(name)
  local stay, sharer_stays = 0, false
  while true do
    local head = redis.call('ZRANGE', P .. 'q:' .. name, stay, stay)[1]
    if not head or (sharer_stays and head:sub(17, 17) == 'x') then
      return
    end
    local exclusive, request = head:sub(17, 17) == 'x', load(head:sub(18))
    if request and not stuck[request.id] and grantable(request) then
      grant_waiter(request)
    elseif request then
      stuck[request.id] = true
      stay, sharer_stays = stay + 1, true
    else
      redis.call('ZREM', P .. 'q:' .. name, head)
      redis.call('ZREM', P .. 'qx:' .. name, head)
      stuck = {}
    end
    if exclusive and request then
      return
    end
  end
end

-- Grants what has become grantable on these names. One look when nobody waits.
local function pump(names)
  if call_with('EXISTS', nil, keys('q:', names)) > 0 then
    stuck = {}
    for _, name in ipairs(names) do
      pump_one(name)
    end
  end
end

-- Takes a holder off its names.
local function let_go(request)
  for _, name in ipairs(request.names) do
    redis.call('HDEL', P .. 'h:' .. name, request.id)
  end
end

-- Sets a waiter aside that didn't confirm its grant: dead, or its hint was lost. It stands in nobody's way and is passed
-- over, but has its old place again as soon as it asks, which a second hint bids it do.
local function set_aside(request)
  let_go(request)
  hint(request)
  note(request.id, 'state', 'silent', 'unconfirmed', '0')
  redis.call('ZADD', P .. 'times', digits(NOW + request.patience), request.id)
  outlive(request, request.patience)
end

-- Takes a request out of everything, without granting its names to others. O(names).
local function remove(request)
  if holds(request) then
    let_go(request)
  end
  if request.state == 'waiting' or request.state == 'upgrading' then
    leave_queues(request)
  end
  loaded[request.id] = nil
  redis.call('DEL', P .. 'r:' .. request.id)
  redis.call('ZREM', P .. 'times', request.id)
end

-- Removes or sets aside every request whose time is over, then grants what that set free. Each verb begins with it, so that after it
-- "there is a holder" and "the lease of the holder runs, or its lock delay" are the same. O(requests that ended).
local function sweep()
  local over = redis.call('ZRANGEBYSCORE', P .. 'times', '-inf', digits(NOW))
  local names = {}
  for _, id in ipairs(over) do
    local request = load(id)
    if request then
      (request.unconfirmed and set_aside or remove)(request)
      for _, name in ipairs(request.names) do
        table.insert(names, name)
      end
    else
      redis.call('ZREM', P .. 'times', id)
      redis.call('SREM', P .. 'unattended', id)
    end
  end
  pump(names)
end

-- One holder as the client reads it.
local function describe_holder(request, name)
  alive(request)
  return { name, request.modes[name], request.owner, request.info, digits(request.fence), NOW - request.since,
    request.ends - NOW }
end

-- How many others wait for the names of a request. A crowd on several names isn't told apart: then it is the longest queue,
-- so that a thousand who ask don't each look at a thousand.
local function count_waiters(request)
  local waiting, count, longest, sum = {}, 0, 0, 0
  for _, name in ipairs(request.names) do
    local others = redis.call('ZCARD', P .. 'q:' .. name)
    if others > 0 and redis.call('ZSCORE', P .. 'q:' .. name, member(request, name)) then
      others = others - 1
    end
    longest, sum = math.max(longest, others), sum + others
  end
  if #request.names == 1 or sum > CROWD then
    return longest
  end
  for _, name in ipairs(request.names) do
    for _, entry in ipairs(redis.call('ZRANGE', P .. 'q:' .. name, 0, -1)) do
      local id = entry:sub(18)
      if id ~= request.id and not waiting[id] then
        waiting[id], count = true, count + 1
      end
    end
  end
  return count
end

-- Who stands in the way of a request, how many wait for its names, and in how many ms it should ask again: soon, if it missed its grant.
local function obstacles(request, missed)
  local against, again, behind = {}, math.huge, false
  for _, name in ipairs(request.names) do
    local mode = asked(request, name)
    for _, id in ipairs(holders_against(request, name, mode)) do
      local holder = load(id)
      if holder then
        table.insert(against, describe_holder(holder, name))
        again = math.min(again, holder.ends + holder.delay - NOW)
      end
    end
    behind = behind or queue_against(request, name, mode)
  end
  if behind then
    again = request.patience / 2
  end
  if missed then
    again = math.min(again, request.provisional / 2, request.lease / 2)
  end
  return cjson.encode({ holders = against, waiters = count_waiters(request), behind = behind,
    missed = missed, again = math.min(again, request.patience / 2) })
end

-- The answer of each verb, a line each: what became of it, the grants it made to others, and facts of its own. One
-- string is the quickest to read; JSON has no line breaks of its own.
local function answer(status, ...)
  return table.concat({ status, #granted > 0 and cjson.encode(granted) or '', ... }, '\n')
end

local function answer_granted(request)
  return answer('granted', digits(request.fence), digits(request.ends - NOW), request.want_text)
end
