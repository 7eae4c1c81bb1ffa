-- Returns tasks that a consumer holds to their queues, arrivals kept.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  redeliveries allowed, '' when this return does not count
-- ARGV[3]  reason for a dead letter
-- ARGV[4+] member and receipt of each task
-- Returns  {queue, id, worker, reason, ...} of tasks buried
-- Cost     O(log N) a task
local consumer, limit, now, buried = ARGV[1], tonumber(ARGV[2]), clock(), {}
for i = 4, #ARGV, 2 do
  local member = ARGV[i]
  local queue = let_go(consumer, member, ARGV[i + 1])
  if queue then put_back(queue, member, limit, ARGV[3], consumer, now, buried) end
end
return buried
