-- Counts a tick that came while the run before it was alive: it needs not begin any more.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     name, slot
-- Returns  1, or 0 when nothing is known of the task
-- Cost     O(1)
local key, slot = root .. ARGV[1], tonumber(ARGV[2])
local definition, begun = unpack(redis.call('HMGET', key, 'definition', 'begun'))
if not definition then return 0 end
redis.call('HSET', key, 'begun', digits(math.max(slot, tonumber(begun or '0'))))
redis.call('HINCRBY', key, 'overlapped', 1)
return 1
