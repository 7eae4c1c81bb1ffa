-- Publishes one task.
--
-- KEYS[1]  root
-- ARGV[1]  '1': the queue is created when it is unknown; '0': the message is dropped then
-- ARGV[2]  queue       ARGV[3]  id         ARGV[4]  priority
-- ARGV[5]  delay       ARGV[6]  lifetime ('' = none; both in microseconds)
-- ARGV[7]  ordering, JSON: `keys`, and the `mode` in which it wants them, exclusive or shared; '' for a task without
-- ARGV[8]  payload
-- ARGV[9]  how many tasks, ARGV[10] how many parked ones a queue without bounds of its own may hold; 0: any number
-- ARGV[11] what monitors are told of it, ARGV[12+] the topics in which; nothing without them
-- Returns  1, 0 when the message was dropped, or the error QUIESCING <mode> <microseconds> <queue>, or
--          FULL <max_queued or max_parked> <held> <bound> <queue>
-- Cost     O(log N)
local create, queue, id, priority = ARGV[1] == '1', ARGV[2], ARGV[3], tonumber(ARGV[4])
local delay, lifetime, ordering, payload = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local now = clock()

local function tell()
  for i = 12, #ARGV do redis.call('PUBLISH', ARGV[i], ARGV[11]) end
end

local function new_here()
  local most, most_parked = tonumber(ARGV[9] or '0'), tonumber(ARGV[10] or '0')
  if delay > 0 or lifetime ~= '' or not create or most > 0 or most_parked > 0 then return false end
  return redis.call('EXISTS', root .. 'gates', root .. 'bounds', root .. 'ageing', key(queue, 'expires')) == 0
end

-- The usual case first, and before the definitions of what it has no use for: a new task that may go at once into a
-- queue that is neither quiesced, bounded, ageing nor mortal.
if new_here() then
  local task = { arrival = next_arrival(now), priority = priority, deliveries = 0, expires = 0, ordering = ordering }
  if redis.call('HSETNX', key(queue, 'tasks'), id, header(task) .. payload) == 1 then
    redis.call('SADD', root .. 'queues', queue)
    redis.call('ZADD', key(queue, 'ready'), digits(priority), task.arrival .. id)
    wake(queue, 1)
    tell()
    return 1
  end
end

-- HELPERS
-- A task that still waits keeps its place when it is published again; one that runs arrives anew.
local function place()
  local old = redis.call('HGET', key(queue, 'tasks'), id)
  if not old then return next_arrival(now) end
  local task = parse(old)
  if string.sub(old, task.start) == payload then return nil end -- the same publication, sent twice
  if take_out(queue, task.arrival .. id) then
    end_turn(task.arrival .. id)
    return task.arrival
  end
  redis.call('SREM', root .. 'recalled', id)
  return next_arrival(now)
end

local function lifetime_of_queue()
  if redis.call('SISMEMBER', root .. 'queues', queue) == 1 then return true, nil end
  local lifetime = redis.call('GET', key(queue, 'expires'))
  if lifetime then return true, lifetime end
  if create then redis.call('SADD', root .. 'queues', queue) end
  return create, nil
end

local function publish()
  local arrival = place()
  if not arrival then return end
  local expires = lifetime == '' and 0 or now + tonumber(lifetime)
  local task = { arrival = arrival, priority = priority, deliveries = 0, expires = expires, ordering = ordering }
  redis.call('HSET', key(queue, 'tasks'), id, header(task) .. payload)
  if delay <= 0 then
    make_ready(queue, arrival .. id, task)
    wake(queue, 1)
    return
  end
  -- A task that expires before it is due is handed out when it expires: a worker then records that.
  local due = expires > 0 and math.min(now + delay, expires) or now + delay
  redis.call('ZADD', key(queue, 'delayed'), digits(due), arrival .. id)
  if due - now < HORIZON then wake(queue, 1) end
end

local mode, left = gate_of(queue, now)
if mode and not is_awaited(queue, id, payload) then return refusal(queue, mode, left) end
local wanted, vanishes_after = lifetime_of_queue()
if not wanted then return 0 end
local full = not vanishes_after and overflow(queue, 1, ARGV[9], ARGV[10])
if full and not parent_in(payload) and not find(id, { queue }) then return full end
publish()
if vanishes_after then
  for _, name in ipairs(queue_keys(queue)) do redis.call('PEXPIRE', name, vanishes_after) end
end
tell()
return 1
