-- Looks at a queue and at all consumers in one moment, for whoever asks why a task waits.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  task id, or ''    ARGV[3]  how many tasks of a consumer are told at most
-- Returns  {time, ready, running, delayed, parked, limit or '', pause reasons as JSON or '', gate or '', its time left,
--           number of tasks before the ready task or -1, '1' when the task was cancelled,
--           {ordering key, id of the first in its line} when the task stands in that line, else {},
--           {consumer, microseconds of its lease left, number of its tasks, {queue, id, priority, name, ...}, ...}}
-- Cost     O(log N + consumers + what they hold)
local queue, id, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = clock()

-- Quotes within a body are escaped, so that only a header can match.
local function name_in(record)
  return string.match(record, '"task": ?"([^"\\]*)"') or '?'
end

local function place()
  local _, member = find(id, { queue })
  return member and redis.call('ZRANK', key(queue, 'ready'), member) or -1
end

local function in_line_behind()
  local _, member, _, task = find(id, { queue })
  if not member or redis.call('SISMEMBER', root .. 'lined', member) == 0 then return {} end
  local ordering = cjson.decode(task.ordering)
  for _, name in ipairs(ordering.keys) do
    local ahead = ahead_in_line(member, task, name, ordering.mode)
    if ahead then return { name, string.sub(ahead, 17) } end
  end
  return {}
end

local function consumers()
  local flat, found = redis.call('ZRANGE', root .. 'leases', 0, -1, 'WITHSCORES'), {}
  for i = 1, #flat, 2 do
    local held, told = holdings(flat[i]), {}
    for j = 1, math.min(#held, most) do
      local record, task = lookup(held[j][2], held[j][1])
      if record then
        for _, part in ipairs({ held[j][2], string.sub(held[j][1], 17), digits(task.priority), name_in(record) }) do
          told[#told + 1] = part
        end
      end
    end
    for _, part in ipairs({ flat[i], digits(tonumber(flat[i + 1]) - now), #held, told }) do
      found[#found + 1] = part
    end
  end
  return found
end

local mode, left = gate_of(queue, now)
return {
  digits(now), redis.call('ZCARD', key(queue, 'ready')), running(queue),
  redis.call('ZCARD', key(queue, 'delayed')), redis.call('ZCARD', key(queue, 'parked')),
  redis.call('HGET', root .. 'limits', queue) or '', redis.call('HGET', root .. 'paused', queue) or '',
  mode or '', digits(left or 0), place(), redis.call('SISMEMBER', root .. 'cancelled', id), in_line_behind(),
  consumers(),
}
