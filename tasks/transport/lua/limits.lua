-- Returns how many tasks of each queue with a limit run at once.
--
-- KEYS[1]  root
-- Returns  {queue, limit, ...}
-- Cost     O(queues with a limit)
return redis.call('HGETALL', root .. 'limits')
