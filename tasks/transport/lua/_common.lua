-- Shared by every script: names of keys, records, order, wake-ups, ways back into a queue.
--
-- KEYS[1]           root of every key name; only the server's clock is read (microseconds)
-- q:<queue>:tasks   hash, task id -> record: "arrival priority deliveries expires\n" .. payload
-- q:<queue>:ready   sorted set of members (16 digits of arrival .. task id), score = place in the order
-- q:<queue>:delayed sorted set of members, score = due time
-- q:<queue>:parked  sorted set of members, score = time of parking
-- q:<queue>:dead    hash, task id -> JSON line .. payload
-- q:<queue>:idle    set of consumers to wake
-- q:<queue>:expires lifetime of a reply queue in milliseconds, itself expiring
-- held:<consumer>   hash, member -> queue: what this consumer was given and has not settled
-- leases            sorted set, consumer -> end of its lease
-- queues, paused, ageing, cancelled, arrival: known queues, pause reasons, seconds per level, flags, last arrival
-- limits, gates     hashes, queue -> how many of its tasks run at once; who quiesces it, until when, in which mode
local root = KEYS[1]
local HORIZON = 2000000 -- idle consumers look again at least this often, so only nearer due times need a wake-up

local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function digits(number)
  return string.format('%.0f', number)
end

local function key(queue, part)
  return root .. 'q:' .. queue .. ':' .. part
end

local function queue_keys(queue)
  local names = {}
  for _, part in ipairs({ 'tasks', 'ready', 'delayed', 'parked', 'dead', 'idle', 'expires' }) do
    names[#names + 1] = key(queue, part)
  end
  return names
end

-- Strictly increasing, and the time of day: one number is order, age and identity of a publication.
-- Returns the first of `count` arrivals in a row.
local function reserve_arrivals(now, count)
  local first = math.max(now, tonumber(redis.call('GET', root .. 'arrival') or '0') + 1)
  redis.call('SET', root .. 'arrival', digits(first + count - 1))
  return first
end

local function next_arrival(now)
  return digits(reserve_arrivals(now, 1))
end

local function parse(record)
  local arrival, priority, deliveries, expires, start =
    string.match(record, '^(%d+) (%-?%d+) (%d+) (%d+)\n()')
  return {
    arrival = arrival, priority = tonumber(priority), deliveries = tonumber(deliveries),
    expires = tonumber(expires), start = start,
  }
end

local function header(task)
  return task.arrival .. ' ' .. digits(task.priority) .. ' ' .. task.deliveries .. ' ' .. digits(task.expires) .. '\n'
end

-- The record of a member; nil when the task is gone or was published anew since.
local function lookup(queue, member)
  local record = redis.call('HGET', key(queue, 'tasks'), string.sub(member, 17))
  if record and string.sub(record, 1, 16) == string.sub(member, 1, 16) then
    return record, parse(record)
  end
end

local function seconds_per_level(queue)
  return tonumber(redis.call('HGET', root .. 'ageing', queue) or '0')
end

local function score_at(ageing, arrival, priority)
  if ageing > 0 then
    return string.format('%.17g', tonumber(arrival) + priority * ageing * 1000000)
  end
  return digits(priority)
end

local function score(queue, arrival, priority)
  return score_at(seconds_per_level(queue), arrival, priority)
end

-- Wakes up to `count` idle consumers; one that no longer listens is dead and simply forgotten.
local function wake(queue, count)
  while count > 0 do
    local consumer = redis.call('SPOP', key(queue, 'idle'))
    if not consumer then return end
    if redis.call('PUBLISH', root .. 'wake:' .. consumer, '1') > 0 then count = count - 1 end
  end
end

local function make_ready(queue, member, task)
  redis.call('ZADD', key(queue, 'ready'), score(queue, task.arrival, task.priority), member)
end

local function finish(queue, member)
  local id = string.sub(member, 17)
  if lookup(queue, member) then
    redis.call('HDEL', key(queue, 'tasks'), id)
    redis.call('SREM', root .. 'cancelled', id)
  end
end

local function bury(queue, member, record, task, reason, worker, now)
  local id = string.sub(member, 17)
  local line = cjson.encode({
    reason = reason, worker = worker, at = digits(now), arrival = task.arrival,
    priority = digits(task.priority), deliveries = task.deliveries, expires = digits(task.expires),
  })
  redis.call('HSET', key(queue, 'dead'), id, line .. '\n' .. string.sub(record, task.start))
  redis.call('HDEL', key(queue, 'tasks'), id)
  redis.call('SREM', root .. 'cancelled', id)
end

-- Returns a task with its arrival kept. `limit` (nil: this return does not count) is the number of
-- returns after which it is buried. Returns true when it was buried.
local function put_back(queue, member, limit, reason, worker, now)
  local record, task = lookup(queue, member)
  if not record then return false end
  local id = string.sub(member, 17)
  if redis.call('SREM', root .. 'cancelled', id) == 1 then
    limit, task.expires = nil, 1 -- a worker will find it expired, and record that it ended
    redis.call('HSET', key(queue, 'tasks'), id, header(task) .. string.sub(record, task.start))
  elseif limit then
    task.deliveries = task.deliveries + 1
    if task.deliveries > limit then
      bury(queue, member, record, task, reason, worker, now)
      return true
    end
    redis.call('HSET', key(queue, 'tasks'), id, header(task) .. string.sub(record, task.start))
  end
  make_ready(queue, member, task)
  wake(queue, 1)
  return false
end

local function sorted(list)
  table.sort(list)
  return list
end

local function known_queues()
  return sorted(redis.call('SMEMBERS', root .. 'queues'))
end

-- All that a consumer holds, as {member, queue} in order of arrival.
local function holdings(consumer)
  local flat, pairs_ = redis.call('HGETALL', root .. 'held:' .. consumer), {}
  for i = 1, #flat, 2 do pairs_[#pairs_ + 1] = { flat[i], flat[i + 1] } end
  table.sort(pairs_, function(a, b) return a[1] < b[1] end)
  return pairs_
end

-- Finds a living task among `queues`: queue, member, record, task; nil when there is none.
local function find(id, queues)
  for _, queue in ipairs(queues) do
    local record = redis.call('HGET', key(queue, 'tasks'), id)
    if record then
      local task = parse(record)
      return queue, task.arrival .. id, record, task
    end
  end
end

-- Every living task of a queue waits in one of three places, or runs.
local function running(queue)
  local waiting = 0
  for _, part in ipairs({ 'ready', 'delayed', 'parked' }) do
    waiting = waiting + redis.call('ZCARD', key(queue, part))
  end
  return redis.call('HLEN', key(queue, 'tasks')) - waiting
end

-- How a queue refuses new tasks while it is quiesced: 'block' or 'reject', and for how long at most; else nil.
local function gate_of(queue, now)
  local stored = redis.call('HGET', root .. 'gates', queue)
  if not stored then return nil end
  local mode, left = nil, 0
  for _, gate in pairs(cjson.decode(stored)) do
    if tonumber(gate.closed_until) > now then
      mode = (mode == 'reject' or gate.mode == 'reject') and 'reject' or 'block'
      left = math.max(left, tonumber(gate.closed_until) - now)
    end
  end
  if not mode then redis.call('HDEL', root .. 'gates', queue) end
  return mode, left
end

-- Whoever quiesces a queue waits for its tasks, so these may be published again, and so may their children.
local function is_awaited(queue, id, payload)
  if find(id, { queue }) then return true end
  local readable, message = pcall(cjson.decode, payload)
  local headers = readable and type(message) == 'table' and message.headers
  local parent = type(headers) == 'table' and headers.parent_id
  return type(parent) == 'string' and find(parent, { queue }) ~= nil
end

local function refusal(queue, mode, left)
  return redis.error_reply('QUIESCING ' .. mode .. ' ' .. digits(left) .. ' ' .. queue)
end

-- Takes a member out of wherever it waits; returns 'ready', 'delayed', 'parked' or nil (running).
local function take_out(queue, member)
  for _, part in ipairs({ 'ready', 'delayed', 'parked' }) do
    if redis.call('ZREM', key(queue, part), member) == 1 then return part end
  end
end

local function forget_consumer(consumer)
  redis.call('DEL', root .. 'held:' .. consumer)
  redis.call('ZREM', root .. 'leases', consumer)
  for _, queue in ipairs(known_queues()) do redis.call('SREM', key(queue, 'idle'), consumer) end
end
