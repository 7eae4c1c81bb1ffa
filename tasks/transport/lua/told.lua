-- Notes that those who wait for a dead letter were told of it.
--
-- KEYS[1]  root
-- ARGV[1]  task id
-- Returns  1, or 0 when that was known
-- Cost     O(log N)
return redis.call('ZREM', root .. 'untold', ARGV[1])
