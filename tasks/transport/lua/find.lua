-- Finds one living task.
--
-- KEYS[1]  root
-- ARGV[1]  task id
-- Returns  {queue, state, member, due time or consumer or '', record}; nil when there is no such task
-- Cost     O(queues + consumers)
local queue, member, record = find(ARGV[1], known_queues())
if not queue then return nil end
local state, score = place_of(queue, member)
if state then return { queue, state, member, score, record } end
for _, consumer in ipairs(redis.call('ZRANGE', root .. 'leases', 0, -1)) do
  if redis.call('HEXISTS', root .. 'held:' .. consumer, member) == 1 then
    return { queue, 'running', member, consumer, record }
  end
end
return { queue, 'running', member, '', record }
