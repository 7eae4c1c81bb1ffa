-- Counts the waiting tasks of a queue: ready and delayed ones.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  the number of tasks
-- Cost     O(1)
return redis.call('ZCARD', key(ARGV[1], 'ready')) + redis.call('ZCARD', key(ARGV[1], 'delayed'))
