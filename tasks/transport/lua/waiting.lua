-- Tells for how long the next task of each queue waits already. A queue that is paused, or has none, is left out.
--
-- KEYS[1]  root
-- ARGV[1]  what the names of the queues begin with
-- Returns  {queue, microseconds since the arrival of its next task, '1' when a worker lost it before, ...} in the order
--          of names
-- Cost     O(queues * log queues)
local prefix, now, found = ARGV[1], clock(), {}
for _, queue in ipairs(known_queues()) do
  if string.sub(queue, 1, #prefix) == prefix and redis.call('HEXISTS', root .. 'paused', queue) == 0 then
    local head = redis.call('ZRANGE', key(queue, 'ready'), 0, 0)[1]
    local record, task
    if head then record, task = lookup(queue, head) end
    if record then
      found[#found + 1] = queue
      found[#found + 1] = digits(math.max(0, now - tonumber(string.sub(head, 1, 16))))
      found[#found + 1] = task.deliveries > 0 and '1' or '0'
    end
  end
end
return found
