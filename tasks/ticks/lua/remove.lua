-- Removes entries that are no longer declared, with all that is known of them.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     token, lease in milliseconds; then the names
-- Returns  1, or 0 when the asker no longer leads
-- Cost     O(log N) an entry
if not still_leads(ARGV[1], ARGV[2]) then return 0 end
for i = 3, #ARGV do
  redis.call('ZREM', SCHEDULE, root .. ARGV[i])
  redis.call('SREM', STATICS, ARGV[i])
  redis.call('HDEL', UNSENT, ARGV[i])
  redis.call('DEL', root .. ARGV[i])
end
return 1
