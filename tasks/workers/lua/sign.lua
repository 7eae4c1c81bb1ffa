-- Takes in what a worker says of itself; it is forgotten with its time-to-live, that the worker ever was a day later.
--
-- KEYS[1]  root of every key name; only the server's clock is read
-- record:<name>  string, the report; it expires
-- seen           sorted set, name -> time of the last report (microseconds)
-- drains         set, names of workers that are to be drained
-- stops          hash, name -> incarnation that is to stop
-- ARGV[1]  name    ARGV[2]  incarnation    ARGV[3]  report    ARGV[4]  time-to-live (ms)
-- ARGV[5]  how long a silent worker is listed (ms)
-- Returns  what is wanted of the worker: 'stop', 'drain' or ''
-- Cost     O(log workers)
local root, name = KEYS[1], ARGV[1]
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
redis.call('SET', root .. 'record:' .. name, ARGV[3], 'PX', ARGV[4])
redis.call('ZADD', root .. 'seen', string.format('%.0f', now), name)
redis.call('ZREMRANGEBYSCORE', root .. 'seen', '-inf', string.format('%.0f', now - tonumber(ARGV[5]) * 1000))
if redis.call('HGET', root .. 'stops', name) == ARGV[2] then return 'stop' end
return redis.call('SISMEMBER', root .. 'drains', name) == 1 and 'drain' or ''
