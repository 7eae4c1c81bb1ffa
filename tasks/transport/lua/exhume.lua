-- Takes a dead letter away: back into its queue as a new arrival, or for good.
--
-- KEYS[1]  root
-- ARGV[1]  task id    ARGV[2]  '1': back into the queue, '0': drop it
-- Returns  1, or 0 when there is no such dead letter
-- Cost     O(queues + log N)
local id, now = ARGV[1], clock()
local queue, letter = find_letter(id)
if not queue then return 0 end
redis.call('HDEL', key(queue, 'dead'), id)
redis.call('ZREM', root .. 'untold', id)
if ARGV[2] == '1' then
  local line, payload = string.match(letter, '^([^\n]*)\n(.*)$')
  local was = cjson.decode(line)
  local task = {
    arrival = next_arrival(now), priority = tonumber(was.priority), deliveries = 0, expires = tonumber(was.expires),
    ordering = was.ordering or '', -- older letters have none
  }
  redis.call('HSET', key(queue, 'tasks'), id, header(task) .. payload)
  make_ready(queue, task.arrival .. id, task)
  wake(queue, 1)
end
return 1
