-- Publishes tasks, all or none.
--
-- KEYS[1]  root
-- ARGV[1]  '1': an id that lives already is an error; '0': the new message replaces it
-- ARGV[2]  '1': the queue is created when it is unknown; '0': the message is dropped then
-- ARGV[3+] six for each task: queue, id, priority, delay, lifetime ('' = none; both in microseconds), payload
-- Returns  the number of tasks stored, or the error DUPLICATE <id> or QUIESCING <mode> <microseconds> <queue>
-- Cost     O(log N) a task
local now, stored = clock(), 0
local unique, create = ARGV[1] == '1', ARGV[2] == '1'

if unique then
  local seen, queues = {}, known_queues()
  for i = 3, #ARGV, 6 do
    local id = ARGV[i + 1]
    if seen[id] or find(id, { ARGV[i] }) or find(id, queues) then
      return redis.error_reply('DUPLICATE ' .. id)
    end
    seen[id] = true
  end
end

for i = 3, #ARGV, 6 do
  local mode, left = gate_of(ARGV[i], now)
  if mode and not is_awaited(ARGV[i], ARGV[i + 1], ARGV[i + 5]) then return refusal(ARGV[i], mode, left) end
end

-- A task that still waits keeps its place when it is published again; one that runs arrives anew.
local function place(queue, id, payload)
  local old = redis.call('HGET', key(queue, 'tasks'), id)
  if not old then return next_arrival(now) end
  local task = parse(old)
  if string.sub(old, task.start) == payload then return nil end -- the same publication, sent twice
  if take_out(queue, task.arrival .. id) then return task.arrival end
  return next_arrival(now)
end

local function lifetime_of(queue)
  local lifetime = redis.call('GET', key(queue, 'expires'))
  if lifetime or redis.call('SISMEMBER', root .. 'queues', queue) == 1 then return true, lifetime end
  if create then redis.call('SADD', root .. 'queues', queue) end
  return create, nil
end

local function publish(queue, id, priority, delay, lifetime, payload)
  local arrival = place(queue, id, payload)
  if not arrival then return end
  local expires = lifetime == '' and 0 or now + tonumber(lifetime)
  local task = { arrival = arrival, priority = priority, deliveries = 0, expires = expires }
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

for i = 3, #ARGV, 6 do
  local queue = ARGV[i]
  local wanted, lifetime = lifetime_of(queue)
  if wanted then
    publish(queue, ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5])
    stored = stored + 1
  end
  if lifetime then
    for _, name in ipairs(queue_keys(queue)) do redis.call('PEXPIRE', name, lifetime) end
  end
end
return stored
