-- Shared by every script: names of keys, records, order, wake-ups, ways back into a queue.
--
-- KEYS[1]           root of every key name; only the server's clock is read (microseconds)
-- q:<queue>:tasks   hash, task id -> record: "arrival priority deliveries expires[ ordering]\n" .. payload
-- q:<queue>:ready   sorted set of members (16 digits of arrival .. task id), score = place in the order
-- q:<queue>:delayed sorted set of members, score = due time
-- q:<queue>:parked  sorted set of members, score = time at which the task expires, NEVER when it does not
-- q:<queue>:dead    hash, task id -> JSON line .. payload
-- q:<queue>:idle    set of consumers to wake
-- q:<queue>:expires lifetime of a reply queue in milliseconds, itself expiring
-- held:<consumer>   hash, member -> receipt ("claim queue"): what this consumer was given and has not settled
-- entered           hash, member -> "queue\n" .. ordering: tasks in lines, from their claim until they took their place
-- line:<key>, line!:<key>  sorted sets, member -> priority: those with this ordering key; those that want it exclusively
-- lined, lines      set of those who are parked until it is their turn; set of the keys for which there are such
-- leases            sorted set, consumer -> end of its lease
-- untold            sorted set, id of a dead letter of which its caller was not told yet -> when to look after it
-- queues, paused, ageing, cancelled, arrival: known queues, pause reasons, seconds per level, flags, last arrival
-- parking           set of queues in which tasks are parked, or were lately
-- recalled          set of running tasks that go back into their queue as soon as they are parked
-- limits, gates     hashes, queue -> how many of its tasks run at once; who quiesces it, until when, in which mode
-- bounds            hash, queue -> "tasks parked": with so many it takes no new work; '-': as the publisher says
local root = KEYS[1]
local TELL_WITHIN = 5000000 -- after so long another worker tells of a dead letter whose finder has not
local NEVER = '9007199254740992' -- the largest integer that a score keeps exactly
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
  local first, last = now, redis.call('SET', root .. 'arrival', digits(now + count - 1), 'GET')
  if last and tonumber(last) >= now then
    first = tonumber(last) + 1
    redis.call('SET', root .. 'arrival', digits(first + count - 1))
  end
  return first
end

local function next_arrival(now)
  return digits(reserve_arrivals(now, 1))
end

local function parse(record)
  local arrival, priority, deliveries, expires, ordering, start =
    string.match(record, '^(%d+) (%-?%d+) (%d+) (%d+) ?([^\n]*)\n()')
  return {
    arrival = arrival, priority = tonumber(priority), deliveries = tonumber(deliveries),
    expires = tonumber(expires), ordering = ordering, start = start,
  }
end

-- What a header says behind the arrival. An ordering is JSON, so it has no line breaks; most tasks have none.
local function rest_of_header(task)
  local rest = ' ' .. digits(task.priority) .. ' ' .. task.deliveries .. ' ' .. digits(task.expires)
  return task.ordering == '' and rest .. '\n' or rest .. ' ' .. task.ordering .. '\n'
end

local function header(task)
  return task.arrival .. rest_of_header(task)
end

-- The record of a member; nil when the task is gone or was published anew since.
local function record_of(queue, member)
  local record = redis.call('HGET', key(queue, 'tasks'), string.sub(member, 17))
  if record and string.sub(record, 1, 16) == string.sub(member, 1, 16) then return record end
end

-- The same, and what it says.
local function lookup(queue, member)
  local record = record_of(queue, member)
  if record then return record, parse(record) end
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

-- Takes back what was noted about a running task.
local function unflag(id)
  if redis.call('EXISTS', root .. 'cancelled', root .. 'recalled') == 0 then return end
  redis.call('SREM', root .. 'cancelled', id)
  redis.call('SREM', root .. 'recalled', id)
end

-- Removes a task that has ended; whether it was there, and not published anew since.
local function remove(queue, member)
  return record_of(queue, member) and redis.call('HDEL', key(queue, 'tasks'), string.sub(member, 17)) == 1
end

local function finish(queue, member)
  if remove(queue, member) then unflag(string.sub(member, 17)) end
end

local function bury(queue, member, record, task, reason, worker, now)
  local id = string.sub(member, 17)
  local line = cjson.encode({
    reason = reason, worker = worker, at = digits(now), arrival = task.arrival,
    priority = digits(task.priority), deliveries = task.deliveries, expires = digits(task.expires),
    ordering = task.ordering,
  })
  redis.call('HSET', key(queue, 'dead'), id, line .. '\n' .. string.sub(record, task.start))
  redis.call('HDEL', key(queue, 'tasks'), id)
  unflag(id)
  redis.call('ZADD', root .. 'untold', digits(now + TELL_WITHIN), id)
end

-- Appends a dead letter to a list of those of which somebody is to be told.
local function report(letters, queue, id, worker, reason)
  for _, part in ipairs({ queue, id, worker, reason }) do letters[#letters + 1] = part end
end

-- Returns a task with its arrival kept. `limit` (nil: this return does not count) is the number of
-- returns after which it is buried, which is reported in `buried`.
local function put_back(queue, member, limit, reason, worker, now, buried)
  local record, task = lookup(queue, member)
  if not record then return end
  local id = string.sub(member, 17)
  redis.call('SREM', root .. 'recalled', id)
  if redis.call('SREM', root .. 'cancelled', id) == 1 then
    limit, task.expires = nil, 1 -- a worker will find it expired, and record that it ended
    redis.call('HSET', key(queue, 'tasks'), id, header(task) .. string.sub(record, task.start))
  elseif limit then
    task.deliveries = task.deliveries + 1
    if task.deliveries > limit then
      bury(queue, member, record, task, reason, worker, now)
      report(buried, queue, id, worker, reason)
      return
    end
    redis.call('HSET', key(queue, 'tasks'), id, header(task) .. string.sub(record, task.start))
  end
  make_ready(queue, member, task)
  wake(queue, 1)
end

-- Sets a task aside that has given back its slot, arrival kept, until it is unparked. One that was recalled or
-- cancelled in the meantime is back in its queue at once.
local function park(queue, member, now)
  local record, task = lookup(queue, member)
  if not record then return end
  local id = string.sub(member, 17)
  if redis.call('SISMEMBER', root .. 'recalled', id) + redis.call('SISMEMBER', root .. 'cancelled', id) > 0 then
    put_back(queue, member, nil, '', '', now)
    return
  end
  redis.call('ZADD', key(queue, 'parked'), task.expires > 0 and digits(task.expires) or NEVER, member)
  redis.call('SADD', root .. 'parking', queue)
end

local function unpark(queue, member, task)
  if redis.call('ZREM', key(queue, 'parked'), member) == 0 then return false end
  make_ready(queue, member, task)
  wake(queue, 1)
  return true
end

local function sorted(list)
  table.sort(list)
  return list
end

local function known_queues()
  return sorted(redis.call('SMEMBERS', root .. 'queues'))
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

-- Finds a dead letter: queue, letter; nil when there is none.
local function find_letter(id)
  for _, queue in ipairs(known_queues()) do
    local letter = redis.call('HGET', key(queue, 'dead'), id)
    if letter then return queue, letter end
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

-- Where a member waits, 'ready', 'delayed' or 'parked', and its score there; nil when it runs.
local function place_of(queue, member)
  for _, part in ipairs({ 'ready', 'delayed', 'parked' }) do
    local score = redis.call('ZSCORE', key(queue, part), member)
    if score then return part, score end
  end
end

-- Takes a member out of wherever it waits; returns 'ready', 'delayed', 'parked' or nil (running).
local function take_out(queue, member)
  for _, part in ipairs({ 'ready', 'delayed', 'parked' }) do
    if redis.call('ZREM', key(queue, part), member) == 1 then return part end
  end
end
