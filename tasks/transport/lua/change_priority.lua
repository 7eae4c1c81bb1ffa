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
local entered, ordering = entry_of(member)
for _, name in ipairs(entered and cjson.decode(ordering).keys or {}) do
  redis.call('ZADD', root .. 'line:' .. name, 'XX', digits(task.priority), member)
  redis.call('ZADD', root .. 'line!:' .. name, 'XX', digits(task.priority), member)
end
if part == 'ready' then make_ready(queue, member, task) end
return part
