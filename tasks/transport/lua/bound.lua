-- Sets with how many tasks a queue takes no new work, and with how many parked ones.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  tasks    ARGV[3]  parked ones; 0: any number, '-': as each publisher says
-- Returns  1
-- Cost     O(1)
if ARGV[2] == '-' and ARGV[3] == '-' then
  redis.call('HDEL', root .. 'bounds', ARGV[1])
else
  redis.call('HSET', root .. 'bounds', ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
end
return 1
