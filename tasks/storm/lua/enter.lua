-- Asks for a place at a gate: a token of its bucket, and one of the places inside.
--
-- KEYS[1]  hash of the gate: tokens, at (microseconds), limit, baseline, cut_at
-- KEYS[2]  sorted set of those inside, by the microsecond at which their place lapses
-- ARGV     id; tokens per second; size of the bucket; most places; seconds until a place lapses
-- Returns  "0" when inside, else the seconds until it is worth asking again
-- Cost     O(log N) for N places, and O(log N) for each one that lapsed
--
-- The bucket is filled by the server's clock. A place that lapsed belonged to a process that died, or that hangs.
local id, rate, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]

local state = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'limit')
local elapsed = math.max(0, now - (tonumber(state[2]) or now)) / 1e6
local tokens = math.min(burst, (tonumber(state[1]) or burst) + elapsed * rate)
local limit = math.min(most, tonumber(state[3]) or math.max(1, most / 2))

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
local wait = 0
if tokens < 1 then
  wait = (1 - tokens) / rate
elseif redis.call('ZCARD', KEYS[2]) >= math.floor(limit) then
  wait = 0.05
else
  tokens = tokens - 1
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + lease * 1e6), id)
end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', string.format('%.0f', now), 'limit', limit)
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('EXPIRE', KEYS[2], 3600)
return tostring(wait)
