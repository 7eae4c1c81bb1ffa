-- Moves messages that a stock Celery producer pushed on kombu's lists into the queues.
--
-- KEYS[1]  root
-- ARGV[1]  number of lists, then name of the list and queue of each, then the most messages to move
-- Returns  the number of messages moved
-- Cost     O(lists + moved * log N)
local now, moved = clock(), 0
local lists, most = tonumber(ARGV[1]), tonumber(ARGV[#ARGV])

local function adopt(queue, payload)
  local arrival = next_arrival(now)
  local readable, message = pcall(cjson.decode, payload)
  local headers = readable and type(message) == 'table' and message.headers or {}
  local properties = readable and type(message) == 'table' and message.properties or {}
  local id = type(headers) == 'table' and headers.id or arrival
  local priority = type(properties) == 'table' and tonumber(properties.priority) or 0
  local task = { arrival = arrival, priority = priority, deliveries = 0, expires = 0, ordering = '' }
  if type(id) ~= 'string' or find(id, { queue }) then id = arrival end
  redis.call('SADD', root .. 'queues', queue)
  redis.call('HSET', key(queue, 'tasks'), id, header(task) .. payload)
  make_ready(queue, arrival .. id, task)
  wake(queue, 1)
end

for i = 2, 2 * lists, 2 do
  while moved < most do
    if redis.call('TYPE', ARGV[i]).ok ~= 'list' then break end
    adopt(ARGV[i + 1], redis.call('RPOP', ARGV[i]))
    moved = moved + 1
  end
end
return moved
