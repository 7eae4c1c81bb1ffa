-- Makes tasks that a consumer holds dead letters.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  reason
-- ARGV[3+] member and queue of each task
-- Returns  the number of tasks buried
-- Cost     O(1) a task
local consumer, now, count = ARGV[1], clock(), 0
for i = 3, #ARGV, 2 do
  local member, queue = ARGV[i], ARGV[i + 1]
  if redis.call('HDEL', root .. 'held:' .. consumer, member) == 1 then
    local record, task = lookup(queue, member)
    if record then
      bury(queue, member, record, task, ARGV[2], consumer, now)
      count = count + 1
    end
  end
end
return count
