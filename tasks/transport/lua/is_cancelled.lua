-- Tells whether a running task was cancelled.
--
-- KEYS[1]  root
-- ARGV[1]  task id
-- Returns  1 or 0
-- Cost     O(1)
return redis.call('SISMEMBER', root .. 'cancelled', ARGV[1])
