-- Returns the names of the queues in which a task lives, sorted.
--
-- KEYS[1]  root
-- Returns  {queue, ...}
-- Cost     O(queues * log queues)
local names = {}
for _, queue in ipairs(known_queues()) do
  if redis.call('EXISTS', key(queue, 'tasks')) == 1 then names[#names + 1] = queue end
end
return names
