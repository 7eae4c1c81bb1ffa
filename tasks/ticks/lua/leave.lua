-- Gives the lead up; a beat that does not lead changes nothing.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     token
-- Returns  1 when the asker led, 0 otherwise
-- Cost     O(1)
return redis.call('GET', LOCK) == ARGV[1] and redis.call('DEL', LOCK) or 0
