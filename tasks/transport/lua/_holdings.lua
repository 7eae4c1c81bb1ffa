-- Shared, behind _lines.lua: what consumers hold, and the leases under which they do.

-- A receipt names one delivery: the consumer's own number of the claim that gave the task, and its queue.
local function queue_on(receipt)
  return string.sub(receipt, string.find(receipt, ' ', 1, true) + 1)
end

-- Ends a delivery; returns its queue, or nil when the consumer does not hold the task under this receipt (any more).
local function give_up(consumer, member, receipt)
  local held = root .. 'held:' .. consumer
  if redis.call('HGET', held, member) ~= receipt then return nil end
  redis.call('HDEL', held, member)
  return queue_on(receipt)
end

-- The same, and the turn of the task is over.
local function let_go(consumer, member, receipt)
  local queue = give_up(consumer, member, receipt)
  if queue then end_turn(member) end
  return queue
end

-- All that a consumer holds, as {member, queue, receipt} in order of arrival.
local function holdings(consumer)
  local flat, found = redis.call('HGETALL', root .. 'held:' .. consumer), {}
  for i = 1, #flat, 2 do found[#found + 1] = { flat[i], queue_on(flat[i + 1]), flat[i + 1] } end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  return found
end

-- Takes from a consumer all that it holds; returns it.
local function dispossess(consumer)
  local held = holdings(consumer)
  redis.call('DEL', root .. 'held:' .. consumer)
  for _, holding in ipairs(held) do end_turn(holding[1]) end
  return held
end

-- Renews a lease, or begins one; false when a consumer that had one has lost it.
local function renew_lease(consumer, had_one, ends)
  local leases = root .. 'leases'
  if not had_one then redis.call('ZADD', leases, digits(ends), consumer) return true end
  return redis.call('ZADD', leases, 'XX', 'CH', digits(ends), consumer) == 1 or redis.call('ZSCORE', leases, consumer) ~= false
end

local function forget_consumer(consumer)
  redis.call('ZREM', root .. 'leases', consumer)
  for _, queue in ipairs(known_queues()) do redis.call('SREM', key(queue, 'idle'), consumer) end
end
