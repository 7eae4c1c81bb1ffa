-- Sets how many tasks of a queue run at once, over all consumers.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  limit, '' for none
-- Returns  1
-- Cost     O(idle consumers)
if ARGV[2] == '' then
  redis.call('HDEL', root .. 'limits', ARGV[1])
else
  redis.call('HSET', root .. 'limits', ARGV[1], ARGV[2])
end
wake(ARGV[1], redis.call('ZCARD', key(ARGV[1], 'ready')))
return 1
