-- Tells whether a queue exists.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  1 or 0
-- Cost     O(1)
if redis.call('SISMEMBER', root .. 'queues', ARGV[1]) == 1 then return 1 end
return redis.call('EXISTS', key(ARGV[1], 'expires'))
