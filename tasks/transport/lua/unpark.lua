-- Puts parked tasks back into their queues, arrivals kept. One that still runs goes back as soon as it is parked.
--
-- KEYS[1]  root
-- ARGV     task ids
-- Returns  the ids of which no task lives
-- Cost     O(queues with parked tasks + log N) a task, O(queues) for one that is not parked
local parking, queues, gone = sorted(redis.call('SMEMBERS', root .. 'parking')), known_queues(), {}
for _, id in ipairs(ARGV) do
  local queue, member, _, task = find(id, parking)
  if not queue then queue, member, _, task = find(id, queues) end
  if not queue then
    gone[#gone + 1] = id
  elseif not unpark(queue, member, task) and not place_of(queue, member) then
    redis.call('SADD', root .. 'recalled', id)
  end
end
return gone
