-- Returns tasks that a consumer holds to their queues, arrivals kept.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  redeliveries allowed, '' when this return does not count
-- ARGV[3]  reason for a dead letter
-- ARGV[4+] member and queue of each task
-- Returns  {queue, id, worker, ...} of tasks buried
-- Cost     O(log N) a task
local consumer, limit, now, buried = ARGV[1], tonumber(ARGV[2]), clock(), {}
for i = 4, #ARGV, 2 do
  local member, queue = ARGV[i], ARGV[i + 1]
  if redis.call('HDEL', root .. 'held:' .. consumer, member) == 1 then
    if put_back(queue, member, limit, ARGV[3], consumer, now) then
      buried[#buried + 1] = queue
      buried[#buried + 1] = string.sub(member, 17)
      buried[#buried + 1] = consumer
    end
  end
end
return buried
