-- Records how a run ended; one that another run has followed since changes nothing.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     name, id of the run, its error ('' = none)
-- Returns  1 when it was recorded, 0 otherwise
-- Cost     O(1)
local key, now = root .. ARGV[1], clock()
local run, started, ended = unpack(redis.call('HMGET', key, 'run', 'started', 'ended'))
if run ~= ARGV[2] or ended then return 0 end
redis.call('HSET', key, 'ended', digits(now), 'duration', digits(now - tonumber(started)), 'error', ARGV[3])
redis.call('HINCRBY', key, ARGV[3] == '' and 'runs' or 'failures', 1)
return 1
