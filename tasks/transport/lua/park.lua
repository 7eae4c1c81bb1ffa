-- Parks a task: it gives back its slot and waits until it is unparked.
--
-- KEYS[1]  root
-- ARGV[1]  task id
-- Returns  1, or 0 when there is no such task
-- Cost     O(queues + consumers + log N)
local queue, member = find(ARGV[1], known_queues())
if not queue then return 0 end
for _, consumer in ipairs(redis.call('ZRANGE', root .. 'leases', 0, -1)) do
  redis.call('HDEL', root .. 'held:' .. consumer, member)
end
take_out(queue, member)
redis.call('ZADD', key(queue, 'parked'), digits(clock()), member)
return 1
