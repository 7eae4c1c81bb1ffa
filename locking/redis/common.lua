-- What every verb shares; put in front of each script.
--
-- KEYS[1]  the prefix of all keys, with the one hash tag: "{locks}:"
-- Keys below the prefix:
--   clock       the only key without an end: a hybrid clock, max(last + 1, server microseconds).
--               Fences and arrivals are readings of it.
--   r:<id>      hash, one request: doc (how it is asked for, JSON), want (mode -> names, JSON), owner, state (waiting,
--               held, upgrading, or silent: see queue.lua), fence, since (ms), delay (ms), arrival and score (its place in queues), unconfirmed (1 while a grant
--               from the queue is provisional)
--   times       sorted set; request id by the ms at which it ends: a holder's lease and lock delay, a waiter's patience;
--               NUL and name by the fence of its last exclusive grant (its mark), kept for an hour at least. One key for both,
--               so that a grant writes it once. Marks are the far greater numbers, and no id has a NUL
--   h:<name>    hash, the holders of a name: request id -> mode (x or s)
--   q:<name>    sorted set, the waiters of a name: <arrival><mode><id> by score
--   qx:<name>   those of them that ask for x
--   unattended  set, the ids of waiters without a mailbox: nobody is in them, and their releaser sees to them
--   m:<address> list, the mailbox of a process: ids of requests that were granted
-- Scripts run on effects, so that TIME may precede writes.

local P = KEYS[1]
local TIME = redis.call('TIME')
local NOW_US = TIME[1] * 1000000 + TIME[2]
local NOW = math.floor(NOW_US / 1000)
local BACKSTOP = 3600000 -- every key outlives what it describes by this; the sorted set `times` is what decides
local MARKS = '1e14' -- above it `times` has marks, below it the ends of requests
local FRONT = -1e308 -- the score of an upgrade: before everybody
local granted = {} -- requests that this call granted from a queue
local loaded = {} -- requests read by this call, until it writes to them

local function digits(number)
  return string.format('%.0f', number)
end

-- What the hybrid clock will read next, and what it read last.
local function next_tick()
  local last = tonumber(redis.call('GET', P .. 'clock') or 0)
  return math.max(last + 1, NOW_US), last
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

-- Lets `times` live for three hours at least and forgets old marks. Done with each new mark, by the first grant of an hour, and while
-- the server's clock is behind; so the key has two hours left whenever a grant finds its marks there, and that grant, if its
-- lease is an hour at most, needn't look.
local function look_after_times()
  if keep(P .. 'times', 3 * BACKSTOP) then
    redis.call('ZREMRANGEBYSCORE', P .. 'times', MARKS, digits(NOW_US - BACKSTOP * 1000))
  end
end

local function tick()
  local reading, last = next_tick()
  redis.call('SET', P .. 'clock', digits(reading))
  if last >= NOW_US or math.floor(last / 3.6e9) < math.floor(NOW_US / 3.6e9) then
    look_after_times()
  end
  return reading
end

-- Calls a command with a list of arguments of any length, some thousands at a time, since Lua unpacks no more; the sum of its answers.
local function call_with(command, key, list)
  local sum = 0
  for from = 1, #list, 4000 do
    local to = math.min(from + 3999, #list)
    if key then
      sum = sum + redis.call(command, key, unpack(list, from, to))
    else
      sum = sum + redis.call(command, unpack(list, from, to))
    end
  end
  return sum
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

-- A request as it is kept; nil if there is none.
local function load(id)
  if loaded[id] then
    return loaded[id]
  end
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
  loaded[id] = request
  return spread(request)
end

-- Writes some fields of a request.
local function note(id, ...)
  loaded[id] = nil
  redis.call('HSET', P .. 'r:' .. id, ...)
end

-- Whether a request stands among the holders.
local function holds(request)
  return request.state == 'held' or request.state == 'upgrading'
end

-- Whether it does and its lease still runs (after the lease only its lock delay does).
local function alive(request)
  if not request or not holds(request) then
    return false
  end
  request.ends = tonumber(redis.call('ZSCORE', P .. 'times', request.id) or 0) - request.delay
  return request.ends > NOW
end

-- The mode a request asks for now: an upgrade asks for x on all it holds.
local function asked(request, name)
  return request.state == 'upgrading' and 'x' or request.modes[name]
end

local function member(request, name)
  return string.format('%016.0f', request.arrival) .. asked(request, name) .. request.id
end

-- The queues of a name in which a request stands.
local function queues(request, name)
  return asked(request, name) == 'x' and { P .. 'q:' .. name, P .. 'qx:' .. name } or { P .. 'q:' .. name }
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

-- Whether a name has a holder that a request can't stand beside. Of several holders all share.
local function is_held_against(request, name, mode)
  local key = P .. 'h:' .. name
  local count = redis.call('HLEN', key)
  if count > 1 then
    return mode == 'x'
  end
  return count == 1 and #holders_against(request, name, mode) > 0
end

-- Whether a waiter of the name stands before the request and conflicts with it: for a sharer the first that asks for x, else the first.
local function queue_against(request, name, mode)
  local head = redis.call('ZRANGE', P .. (mode == 'x' and 'q:' or 'qx:') .. name, 0, 0, 'WITHSCORES')
  local score = tonumber(head[2])
  return score ~= nil and (score < request.score or (score == request.score and head[1] < member(request, name)))
end

local function free(request, name)
  local mode = asked(request, name)
  return not is_held_against(request, name, mode) and not queue_against(request, name, mode)
end

-- Whether a request could have all its names now. It may pass the waiters of the names in `past`, but no holder.
local function grantable(request, past)
  for _, name in ipairs(request.names) do
    local passes = past and past[name] and not is_held_against(request, name, asked(request, name))
    if not passes and not free(request, name) then
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
  redis.call('ZADD', P .. 'times', digits(request.ends + request.delay), request.id)
end

-- Makes the keys of a request outlive it.
local function outlive(request, ms)
  keep(P .. 'times', ms)
  redis.call('PEXPIRE', P .. 'r:' .. request.id, digits(ms + BACKSTOP))
end

-- Whether a request waits with nobody in it.
local function unattended(request)
  return request.state == 'waiting' and request.mailbox == ''
end

local function leave_queues(request)
  if unattended(request) then
    redis.call('SREM', P .. 'unattended', request.id)
  end
  for _, name in ipairs(request.names) do
    for _, queue in ipairs(queues(request, name)) do
      redis.call('ZREM', queue, member(request, name))
    end
  end
end

-- Remembers which names had an exclusive grant, for observers.
local function mark_exclusive(names, fence)
  local marks = {}
  for i, name in ipairs(names) do
    marks[2 * i - 1], marks[2 * i] = digits(fence), '\0' .. name
  end
  if call_with('ZADD', P .. 'times', marks) > 0 then
    look_after_times()
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
  note(request.id, 'doc', request.doc, 'want', request.want_text, 'owner', request.owner, 'state', 'held',
    'fence', digits(request.fence), 'since', digits(request.since), 'delay', digits(request.delay), 'unconfirmed',
    provisional and '1' or '0')
  extend(request, lease)
  outlive(request, ms)
end
