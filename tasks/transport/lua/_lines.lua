-- Shared, behind _common.lua: lines of claimed tasks with an ordering key in common.

-- Where a task that stands in lines belongs: queue, ordering; nil when it stands in none.
local function entry_of(member)
  local entry = redis.call('HGET', root .. 'entered', member)
  if entry then return string.match(entry, '^([^\n]*)\n(.*)$') end
end

-- By priority, here called level, and among equals by arrival.
local function in_order(a, b)
  if a.level ~= b.level then return a.level < b.level end
  return a.member < b.member
end

-- The first of those in the line for a key that may not run beside a task, if that comes before it; else nil.
local function ahead_in_line(member, task, name, mode)
  local line = root .. (mode == 'exclusive' and 'line:' or 'line!:') .. name
  local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  if not first[1] or first[1] == member then return nil end
  local other, own = { level = tonumber(first[2]), member = first[1] }, { level = task.priority, member = member }
  return in_order(other, own) and other.member or nil
end

-- Takes a task out of its lines; returns the ordering keys of these.
local function leave_lines(member, ordering)
  local names = cjson.decode(ordering).keys
  redis.call('HDEL', root .. 'entered', member)
  redis.call('SREM', root .. 'lined', member)
  for _, name in ipairs(names) do
    redis.call('ZREM', root .. 'line:' .. name, member)
    redis.call('ZREM', root .. 'line!:' .. name, member)
  end
  return names
end

-- Puts the first in each line back into its queue, if it is parked; who no longer lives leaves all of its lines.
local function let_next_go(names)
  for _, name in ipairs(names) do -- the list may grow meanwhile
    local first = redis.call('ZRANGE', root .. 'line:' .. name, 0, 0)[1]
    local queue, ordering, record, task
    if first then queue, ordering = entry_of(first) else redis.call('SREM', root .. 'lines', name) end
    if queue then record, task = lookup(queue, first) end
    if record then
      if redis.call('SREM', root .. 'lined', first) == 1 then unpark(queue, first, task) end
    elseif first then
      for _, own in ipairs(leave_lines(first, ordering)) do names[#names + 1] = own end
    end
  end
end

-- Ends the turn of a task: it has taken its place, or has ended.
local function end_turn(member)
  local queue, ordering = entry_of(member)
  if queue then let_next_go(leave_lines(member, ordering)) end
end
