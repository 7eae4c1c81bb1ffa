-- Takes the lead, or keeps it.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     token, lease in milliseconds, '1' to take the lead even from somebody who has it
-- Returns  1 when the asker leads, 0 when another does
-- Cost     O(1)
if still_leads(ARGV[1], ARGV[2]) then return 1 end
if ARGV[3] == '1' then redis.call('DEL', LOCK) end
return redis.call('SET', LOCK, ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
