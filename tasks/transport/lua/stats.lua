-- Counts what a queue holds.
--
-- KEYS[1]  root
-- ARGV[1]  queue
-- Returns  {{priority, number, ...} of ready tasks, oldest arrival of them or '', age of that in microseconds,
--          running, parked, delayed, dead, pause reasons as JSON or '', limit or '', bounds or ''}
-- Cost     O(priorities * log N), with ageing O(N)
local queue, now = ARGV[1], clock()
local ready = key(queue, 'ready')
local depth, oldest = {}, nil

local function of_strict_queue()
  local above = '-inf'
  while true do
    local first = redis.call('ZRANGE', ready, above, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if not first[1] then return end
    local priority = digits(tonumber(first[2]))
    depth[#depth + 1] = priority
    depth[#depth + 1] = redis.call('ZCOUNT', ready, priority, priority)
    local arrival = string.sub(first[1], 1, 16)
    if not oldest or arrival < oldest then oldest = arrival end
    above = '(' .. priority
  end
end

local function of_ageing_queue()
  local counts, priorities = {}, {}
  for _, member in ipairs(redis.call('ZRANGE', ready, 0, -1)) do
    local _, task = lookup(queue, member)
    if task then
      if not counts[task.priority] then priorities[#priorities + 1] = task.priority end
      counts[task.priority] = (counts[task.priority] or 0) + 1
      if not oldest or task.arrival < oldest then oldest = task.arrival end
    end
  end
  for _, priority in ipairs(sorted(priorities)) do
    depth[#depth + 1] = digits(priority)
    depth[#depth + 1] = counts[priority]
  end
end

if seconds_per_level(queue) > 0 then of_ageing_queue() else of_strict_queue() end
return {
  depth, oldest or '', oldest and digits(now - tonumber(oldest)) or '0', running(queue),
  redis.call('ZCARD', key(queue, 'parked')), redis.call('ZCARD', key(queue, 'delayed')),
  redis.call('HLEN', key(queue, 'dead')), redis.call('HGET', root .. 'paused', queue) or '',
  redis.call('HGET', root .. 'limits', queue) or '', redis.call('HGET', root .. 'bounds', queue) or '',
}
