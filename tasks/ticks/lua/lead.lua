-- Takes the lead, or keeps it.
--
-- KEYS[1]  redbeat's key prefix
-- ARGV     token, lease in milliseconds
-- Returns  1 when the asker leads, 0 when another beat does
-- Cost     O(1)
if still_leads(ARGV[1], ARGV[2]) then return 1 end
return redis.call('SET', LOCK, ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
