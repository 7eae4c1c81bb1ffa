-- What every verb shares; put in front of each script.
--
-- KEYS[1]  the prefix of all keys, with the one hash tag: "{locks}:"
-- Keys below the prefix:
--   clock       the only key without an end: a hybrid clock, max(last + 1, server microseconds).
--               Fences and arrivals are readings of it.
--   r:<id>      hash, one request: doc (how it is asked for, JSON), want (mode -> names, JSON), owner, state (waiting,
--               held or upgrading), fence, since (ms), delay (ms), arrival and score (its place in queues), unconfirmed (1 while a grant
--               from the queue is provisional)
--   ends        sorted set, request id by the ms at which it ends: a holder's lease and lock delay, a waiter's patience
--   h:<name>    hash, the holders of a name: request id -> mode (x or s)
--   q:<name>    sorted set, the waiters of a name: <arrival><mode><id> by score
--   exclusive   sorted set, name by the fence of its last exclusive grant, kept for an hour at least
--   m:<address> list, the mailbox of a process: ids of requests that were granted
-- Scripts run on effects, so that TIME may precede writes.

local P = KEYS[1]
local TIME = redis.call('TIME')
local NOW_US = TIME[1] * 1000000 + TIME[2]
local NOW = math.floor(NOW_US / 1000)
local BACKSTOP = 3600000 -- every key outlives what it describes by this; the sorted set `ends` is what decides
local FRONT = -1e308 -- the score of an upgrade: before everybody
local granted = {} -- requests that this call granted from a queue

local function digits(number)
  return string.format('%.0f', number)
end

-- What the hybrid clock will read next.
local function next_tick()
  return math.max(tonumber(redis.call('GET', P .. 'clock') or 0) + 1, NOW_US)
end

local function tick()
  local reading = next_tick()
  redis.call('SET', P .. 'clock', digits(reading))
  return reading
end

-- Lets a key live for so long at least; tells whether its end had to be moved. It is moved by more than that, so that
-- the next calls needn't.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, digits(ms + BACKSTOP))
    return true
  end
  return false
end

-- Adds names (a list) and modes (name -> mode) to a request.
local function spread(request)
  request.names, request.modes = {}, {}
  for _, mode in ipairs({ 'x', 's' }) do
    for _, name in ipairs(request.want[mode] or {}) do
      table.insert(request.names, name)
      request.modes[name] = mode
    end
  end
  return request
end

-- Asks for all names in one mode from now on.
local function rewant(request, mode)
  request.want = { [mode] = request.names }
  request.want_text = cjson.encode(request.want)
  return spread(request)
end

local function load(id)
  local field = redis.call('HMGET', P .. 'r:' .. id, 'doc', 'want', 'state', 'fence', 'since', 'arrival', 'score',
    'unconfirmed', 'owner')
  if not field[1] then
    return nil
  end
  local request = cjson.decode(field[1])
  request.id, request.owner, request.state = id, field[9], field[3]
  request.doc, request.want_text, request.want = field[1], field[2], cjson.decode(field[2])
  request.fence, request.since = tonumber(field[4] or 0), tonumber(field[5] or 0)
  request.arrival, request.score = tonumber(field[6] or 0), tonumber(field[7] or 0)
  request.unconfirmed = field[8] == '1'
  return spread(request)
end

-- Whether a request holds its names and its lease still runs (after the lease only its lock delay does).
local function alive(request)
  if not request or request.state == 'waiting' then
    return false
  end
  request.ends = tonumber(redis.call('ZSCORE', P .. 'ends', request.id) or 0) - request.delay
  return request.ends > NOW
end

-- The mode a request asks for now: an upgrade asks for x on all it holds.
local function asked(request, name)
  return request.state == 'upgrading' and 'x' or request.modes[name]
end

local function member(request, name)
  return string.format('%016.0f', request.arrival) .. asked(request, name) .. request.id
end

local function keys(kind, names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = P .. kind .. name
  end
  return list
end

-- The ids of the holders of a name that a request can't stand beside.
local function holders_against(request, name, mode)
  local list, held = {}, redis.call('HGETALL', P .. 'h:' .. name)
  for i = 1, #held, 2 do
    if held[i] ~= request.id and (mode == 'x' or held[i + 1] == 'x') then
      table.insert(list, held[i])
    end
  end
  return list
end

-- Whether a waiter of the name stands before the request and conflicts with it.
local function queue_against(request, name, mode)
  local from, mine = 0, member(request, name)
  while true do
    local page = redis.call('ZRANGE', P .. 'q:' .. name, from, from + 15, 'WITHSCORES')
    for i = 1, #page, 2 do
      local score = tonumber(page[i + 1])
      if score > request.score or (score == request.score and page[i] >= mine) then
        return false
      end
      if mode == 'x' or page[i]:sub(17, 17) == 'x' then
        return true
      end
    end
    if #page < 32 then
      return false
    end
    from = from + 16
  end
end

local function free(request, name)
  local mode = asked(request, name)
  return #holders_against(request, name, mode) == 0 and not queue_against(request, name, mode)
end

local function grantable(request)
  for _, name in ipairs(request.names) do
    if not free(request, name) then
      return false
    end
  end
  return true
end

-- Starts the lease of a holder; max_hold counts from the grant.
local function extend(request, lease)
  request.ends = NOW + lease
  if request.hold then
    request.ends = math.min(request.ends, request.since + request.hold)
  end
  redis.call('ZADD', P .. 'ends', digits(request.ends + request.delay), request.id)
end

-- Makes the keys of a request outlive it.
local function outlive(request, ms)
  keep(P .. 'ends', ms)
  redis.call('PEXPIRE', P .. 'r:' .. request.id, digits(ms + BACKSTOP))
end

local function leave_queues(request)
  for _, name in ipairs(request.names) do
    redis.call('ZREM', P .. 'q:' .. name, member(request, name))
  end
end

-- Remembers which names had an exclusive grant, for observers.
local function mark_exclusive(names, fence)
  local marks = {}
  for i, name in ipairs(names) do
    marks[2 * i - 1], marks[2 * i] = digits(fence), name
  end
  redis.call('ZADD', P .. 'exclusive', unpack(marks))
  if keep(P .. 'exclusive', BACKSTOP) then
    redis.call('ZREMRANGEBYSCORE', P .. 'exclusive', '-inf', digits(NOW_US - BACKSTOP * 1000))
  end
end

-- Gives a request its names, under one new fence. O(names).
local function grant(request, lease, provisional)
  if request.state == 'upgrading' then
    rewant(request, 'x')
  else
    request.since = NOW
  end
  request.fence, request.state = tick(), 'held'
  local ms = request.lease + request.delay
  for _, name in ipairs(request.names) do
    redis.call('HSET', P .. 'h:' .. name, request.id, request.modes[name])
    keep(P .. 'h:' .. name, ms)
  end
  if request.want.x then
    mark_exclusive(request.want.x, request.fence)
  end
  redis.call('HSET', P .. 'r:' .. request.id, 'doc', request.doc, 'want', request.want_text, 'owner', request.owner,
    'state', 'held', 'fence', digits(request.fence), 'since', digits(request.since), 'delay', digits(request.delay),
    'unconfirmed', provisional and '1' or '0')
  extend(request, lease)
  outlive(request, ms)
end

-- Finds the place that a request would have in every queue if it came now.
local function place(request)
  request.arrival = next_tick()
  if request.state == 'upgrading' then
    request.score = FRONT
  else
    request.score = request.ageing and request.arrival + request.priority * request.ageing or request.priority
  end
end

-- Puts a request into the queue of each of its names, in its place.
local function enqueue(request)
  tick()
  redis.call('HSET', P .. 'r:' .. request.id, 'doc', request.doc, 'want', request.want_text, 'owner', request.owner,
    'state', request.state, 'arrival', digits(request.arrival), 'score', string.format('%.17g', request.score))
  for _, name in ipairs(request.names) do
    redis.call('ZADD', P .. 'q:' .. name, string.format('%.17g', request.score), member(request, name))
    keep(P .. 'q:' .. name, request.patience + request.lease)
  end
end

-- Lets a waiter live for its patience. An upgrade lives as long as the shared lock below it.
local function be_patient(request)
  if request.state == 'waiting' then
    redis.call('ZADD', P .. 'ends', digits(NOW + request.patience), request.id)
    outlive(request, request.patience)
    for _, name in ipairs(request.names) do
      keep(P .. 'q:' .. name, request.patience)
    end
  end
end

-- Tells a process that its request was granted; a hint that may be lost.
local function announce(request)
  table.insert(granted, { request.id, request.owner, request.info, request.mailbox })
  if request.mailbox ~= '' then
    local box = P .. 'm:' .. request.mailbox
    redis.call('RPUSH', box, request.id)
    redis.call('PEXPIRE', box, 60000)
  end
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
    if request and grantable(request) then
      leave_queues(request)
      local lease = request.state == 'upgrading' and request.lease or math.min(request.provisional, request.lease)
      grant(request, lease, request.state ~= 'upgrading')
      announce(request)
    elseif request then
      stay, sharer_stays = stay + 1, true
    else
      redis.call('ZREM', P .. 'q:' .. name, head)
    end
    if exclusive and request then
      return
    end
  end
end

-- Grants what has become grantable on these names. One look when nobody waits.
local function pump(names)
  if #names > 0 and redis.call('EXISTS', unpack(keys('q:', names))) > 0 then
    for _, name in ipairs(names) do
      pump_one(name)
    end
  end
end

-- Takes a request out of everything, without granting its names to others. O(names).
local function remove(request)
  local gone = { P .. 'r:' .. request.id }
  if request.state ~= 'waiting' then
    for _, name in ipairs(request.want.x or {}) do
      table.insert(gone, P .. 'h:' .. name)
    end
    for _, name in ipairs(request.want.s or {}) do
      redis.call('HDEL', P .. 'h:' .. name, request.id)
    end
  end
  if request.state ~= 'held' then
    leave_queues(request)
  end
  redis.call('DEL', unpack(gone))
  redis.call('ZREM', P .. 'ends', request.id)
end

-- Removes every request whose time is over, then grants what that set free. Each verb begins with it, so that after it
-- "there is a holder" and "the lease of the holder runs, or its lock delay" are the same. O(requests that ended).
local function sweep()
  local over = redis.call('ZRANGEBYSCORE', P .. 'ends', '-inf', digits(NOW))
  local names = {}
  for _, id in ipairs(over) do
    local request = load(id)
    if request then
      remove(request)
      for _, name in ipairs(request.names) do
        table.insert(names, name)
      end
    else
      redis.call('ZREM', P .. 'ends', id)
    end
  end
  for _, name in ipairs(names) do
    pump_one(name)
  end
end

-- One holder as the client reads it.
local function describe_holder(request, name)
  alive(request)
  return { name, request.modes[name], request.owner, request.info, digits(request.fence), NOW - request.since,
    request.ends - NOW }
end

-- Who stands in the way of a request, how many wait for its names, and in how many ms it should ask again.
local function obstacles(request)
  local against, waiting, count, again, behind = {}, {}, 0, math.huge, false
  for _, name in ipairs(request.names) do
    local mode = asked(request, name)
    for _, id in ipairs(holders_against(request, name, mode)) do
      local holder = load(id)
      if holder then
        table.insert(against, describe_holder(holder, name))
        again = math.min(again, holder.ends + holder.delay - NOW)
      end
    end
    for _, entry in ipairs(redis.call('ZRANGE', P .. 'q:' .. name, 0, -1)) do
      local id = entry:sub(18)
      if id ~= request.id and not waiting[id] then
        waiting[id], count = true, count + 1
      end
    end
    behind = behind or queue_against(request, name, mode)
  end
  if behind then
    again = request.patience / 2
  end
  return cjson.encode({ holders = against, waiters = count, behind = behind,
    again = math.min(again, request.patience / 2) })
end

-- The answer of each verb, a line each: what became of it, the grants it made to others, and facts of its own. One
-- string is the quickest to read; JSON has no line breaks of its own.
local function answer(status, ...)
  return table.concat({ status, #granted > 0 and cjson.encode(granted) or '', ... }, '\n')
end

local function answer_granted(request)
  return answer('granted', digits(request.fence), digits(request.ends - NOW), request.want_text)
end
