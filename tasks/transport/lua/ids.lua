-- Lists the ids of the living tasks of a queue.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  the ids
-- Cost     O(N)
return sorted(redis.call('HKEYS', key(ARGV[1], 'tasks')))
