-- Gives a place at a gate back, and adapts the number of places to how it went.
--
-- KEYS[1]  hash of the gate: tokens, at (microseconds), limit, baseline, cut_at
-- KEYS[2]  sorted set of those inside, by the microsecond at which their place lapses
-- ARGV     id; seconds that it took, or "failed"; most places
-- Returns  the number of places now, as text
-- Cost     O(log N) for N places
--
-- Additive increase, multiplicative decrease (D.-M. Chiu and R. Jain, 1989): while the places are used and all is well,
-- each round of them adds one. A failure, or a call that took more than twice the usual time, takes 30 % away, once in
-- a second. The usual time follows the quickest calls at once and slower ones by a fiftieth.
local id, took, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]

local state = redis.call('HMGET', KEYS[1], 'limit', 'baseline', 'cut_at')
local limit = math.min(most, tonumber(state[1]) or math.max(1, most / 2))
local baseline = tonumber(state[2]) or took
local inside = redis.call('ZCARD', KEYS[2])
-- A place that lapsed meanwhile took too long.
local lapsed = redis.call('ZREM', KEYS[2], id) == 0

-- What takes less than 50 ms is no sign of overload, however it varies.
if lapsed or not took or took > math.max(2 * baseline, 0.05) then
  if now - (tonumber(state[3]) or 0) >= 1e6 then
    limit = math.max(1, limit * 0.7)
    redis.call('HSET', KEYS[1], 'cut_at', string.format('%.0f', now))
  end
elseif inside >= math.floor(limit) then
  limit = math.min(most, limit + 1 / limit)
end
if took then
  baseline = took < baseline and took or baseline + (took - baseline) / 50
  redis.call('HSET', KEYS[1], 'baseline', baseline)
end
redis.call('HSET', KEYS[1], 'limit', limit)
redis.call('EXPIRE', KEYS[1], 3600)
return tostring(limit)
