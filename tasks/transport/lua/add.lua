-- Adds new tasks, all or none.
--
-- KEYS[1]  root
-- ARGV     six for each task: queue, id, priority, delay, lifetime ('' = none; both in microseconds), payload
-- Returns  the number of tasks, or the error DUPLICATE <id> or QUIESCING <mode> <microseconds> <queue>
-- Cost     O(queues that hold tasks + log N) a task
local now, count = clock(), #ARGV / 6
local AT_ONCE = 500 -- elements of one command, far below what Lua can unpack
local parts_of = {}

local function ids()
  local list, seen = {}, {}
  for i = 2, #ARGV, 6 do
    if seen[ARGV[i]] then return nil, ARGV[i] end
    seen[ARGV[i]] = true
    list[#list + 1] = ARGV[i]
  end
  return list
end

-- The id of a batch that lives already, and whether it is this very publication, sent again after a lost answer.
local function living(list)
  for _, queue in ipairs(known_queues()) do
    if redis.call('EXISTS', key(queue, 'tasks')) == 1 then
      for first = 1, count, AT_ONCE do
        local last = math.min(first + AT_ONCE - 1, count)
        local records = redis.call('HMGET', key(queue, 'tasks'), unpack(list, first, last))
        for offset = 1, last - first + 1 do
          local record, payload = records[offset], ARGV[6 * (first + offset - 1)]
          if record then
            return list[first + offset - 1], string.sub(record, parse(record).start) == payload
          end
        end
      end
    end
  end
end

local function first_refusal()
  local gates = {}
  for i = 1, #ARGV, 6 do
    local queue = ARGV[i]
    if not gates[queue] then gates[queue] = { gate_of(queue, now) } end
    local mode, left = unpack(gates[queue])
    if mode and not is_awaited(queue, ARGV[i + 1], ARGV[i + 5]) then return refusal(queue, mode, left) end
  end
end

local function parts(queue)
  if not parts_of[queue] then
    parts_of[queue] = { tasks = {}, ready = {}, delayed = {}, ageing = seconds_per_level(queue), to_wake = 0 }
    redis.call('SADD', root .. 'queues', queue)
  end
  return parts_of[queue]
end

local COMMANDS = { tasks = 'HSET', ready = 'ZADD', delayed = 'ZADD' }

local function flush(queue, part)
  local list = parts_of[queue][part]
  if #list > 0 then redis.call(COMMANDS[part], key(queue, part), unpack(list)) end
  parts_of[queue][part] = {}
end

local function put(queue, part, first, second)
  local list = parts(queue)[part]
  list[#list + 1], list[#list + 2] = first, second
  if #list >= AT_ONCE then flush(queue, part) end
end

local function add(arrival, queue, id, priority, delay, lifetime, payload)
  local expires = lifetime == '' and 0 or now + tonumber(lifetime)
  local task = { arrival = arrival, priority = priority, deliveries = 0, expires = expires }
  local own = parts(queue)
  put(queue, 'tasks', id, header(task) .. payload)
  if delay > 0 then
    local due = expires > 0 and math.min(now + delay, expires) or now + delay
    put(queue, 'delayed', digits(due), arrival .. id)
  else
    put(queue, 'ready', score_at(own.ageing, arrival, priority), arrival .. id)
  end
  if delay < HORIZON then own.to_wake = own.to_wake + 1 end
end

local list, twice = ids()
if twice then return redis.error_reply('DUPLICATE ' .. twice) end
local id, same = living(list)
if same then return count end
if id then return redis.error_reply('DUPLICATE ' .. id) end
local refused = first_refusal()
if refused then return refused end

local arrival = reserve_arrivals(now, count)
for i = 1, #ARGV, 6 do
  add(digits(arrival), ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5])
  arrival = arrival + 1
end
local queues = {}
for queue in pairs(parts_of) do queues[#queues + 1] = queue end
for _, queue in ipairs(sorted(queues)) do
  for _, part in ipairs({ 'tasks', 'ready', 'delayed' }) do flush(queue, part) end
  wake(queue, parts_of[queue].to_wake)
end
return count
