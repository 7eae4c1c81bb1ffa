-- Sets how many seconds of arrival one level of priority is worth in a queue, and reorders it.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  seconds per level, '0' for strict order
-- Returns  the number of tasks reordered
-- Cost     O(N log N)
local queue, count = ARGV[1], 0
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', root .. 'ageing', queue, ARGV[2])
else
  redis.call('HDEL', root .. 'ageing', queue)
end
for _, member in ipairs(redis.call('ZRANGE', key(queue, 'ready'), 0, -1)) do
  local _, task = lookup(queue, member)
  if task then
    make_ready(queue, member, task)
    count = count + 1
  end
end
return count
