-- Returns the dead letters of a queue.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  {id, letter, ...}
-- Cost     O(N)
return redis.call('HGETALL', key(ARGV[1], 'dead'))
