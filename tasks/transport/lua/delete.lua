-- Deletes a queue with all that belongs to it. What runs from it ends in peace.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  nothing
-- Cost     O(N)
redis.call('DEL', unpack(queue_keys(ARGV[1])))
redis.call('SREM', root .. 'queues', ARGV[1])
redis.call('HDEL', root .. 'paused', ARGV[1])
redis.call('HDEL', root .. 'ageing', ARGV[1])
redis.call('HDEL', root .. 'bounds', ARGV[1])
