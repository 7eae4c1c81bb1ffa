-- Tells whether a running task is asked to end: it was cancelled, or its queue is to have no slots.
--
-- KEYS[1]  root
-- ARGV[1]  task id    ARGV[2]  its queue
-- Returns  1 or 0
-- Cost     O(1)
if redis.call('SISMEMBER', root .. 'cancelled', ARGV[1]) == 1 then return 1 end
return redis.call('HGET', root .. 'limits', ARGV[2]) == '0' and 1 or 0
