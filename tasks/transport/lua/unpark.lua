-- Puts parked tasks back into their queues, arrivals kept.
--
-- KEYS[1]  root
-- ARGV     task ids
-- Returns  the number of tasks put back
-- Cost     O(queues + log N) a task
local queues, count = known_queues(), 0
for _, id in ipairs(ARGV) do
  local queue, member, _, task = find(id, queues)
  if queue and redis.call('ZREM', key(queue, 'parked'), member) == 1 then
    make_ready(queue, member, task)
    wake(queue, 1)
    count = count + 1
  end
end
return count
