-- Makes a queue known. A queue with a lifetime (replies) vanishes with it and is listed nowhere.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  lifetime in milliseconds, '' for a queue that stays
-- Returns  nothing
-- Cost     O(1)
if ARGV[2] == '' then
  redis.call('SADD', root .. 'queues', ARGV[1])
else
  redis.call('SET', key(ARGV[1], 'expires'), ARGV[2], 'PX', ARGV[2])
end
