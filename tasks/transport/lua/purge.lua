-- Removes the waiting tasks of a queue: ready and delayed ones.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  the number of tasks removed
-- Cost     O(N)
local queue, count = ARGV[1], 0
for _, part in ipairs({ 'ready', 'delayed' }) do
  for _, member in ipairs(redis.call('ZRANGE', key(queue, part), 0, -1)) do
    redis.call('HDEL', key(queue, 'tasks'), string.sub(member, 17))
    end_turn(member)
    count = count + 1
  end
  redis.call('DEL', key(queue, part))
end
return count
