-- A consumer no longer wants to be woken for a queue.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  queue
-- Returns  nothing
-- Cost     O(1)
redis.call('SREM', key(ARGV[2], 'idle'), ARGV[1])
if redis.call('ZCARD', key(ARGV[2], 'ready')) > 0 then wake(ARGV[2], 1) end
