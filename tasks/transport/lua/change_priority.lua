-- Gives a waiting task another priority; its arrival, and so its place among equals, stays.
--
-- KEYS[1]  root
-- ARGV[1]  task id    ARGV[2]  priority
-- Returns  'ready', 'delayed' or 'parked': where the task waits; nil when no such task waits
-- Cost     O(queues + log N)
local queue, member, record, task = find(ARGV[1], known_queues())
if not queue then return nil end
task.priority = tonumber(ARGV[2])
local part = place_of(queue, member)
if not part then return nil end
redis.call('HSET', key(queue, 'tasks'), ARGV[1], header(task) .. string.sub(record, task.start))
if part == 'ready' then make_ready(queue, member, task) end
return part
