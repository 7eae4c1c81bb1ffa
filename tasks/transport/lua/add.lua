-- Adds new tasks, all or none.
--
-- KEYS[1]  root
-- ARGV[1]  how many tasks, ARGV[2] how many parked ones a queue without bounds of its own may hold; 0: any number
-- ARGV[3+] runs of tasks that differ only in id and payload, each: queue, priority, delay,
--          lifetime ('' = none; both in microseconds), number of tasks, then id, ordering and payload of each
-- Returns  the number of tasks, or the error DUPLICATE <id>, QUIESCING <mode> <microseconds> <queue>, or
--          FULL <max_queued or max_parked> <held> <bound> <queue>
-- Cost     O(queues that hold tasks + log N) a task
local now = clock()
local AT_ONCE = 500 -- elements of one command, far below what Lua can unpack
local runs, ids, orderings, payloads = {}, {}, {}, {}

local function read_arguments()
  local i, seen = 3, {}
  while i < #ARGV do
    local run = {
      queue = ARGV[i], priority = tonumber(ARGV[i + 1]), delay = tonumber(ARGV[i + 2]),
      expires = ARGV[i + 3] == '' and 0 or now + tonumber(ARGV[i + 3]), first = #ids + 1,
    }
    i = i + 5
    for _ = 1, tonumber(ARGV[i - 1]) do
      if seen[ARGV[i]] then return ARGV[i] end
      seen[ARGV[i]] = true
      ids[#ids + 1], orderings[#ids + 1], payloads[#ids + 1] = ARGV[i], ARGV[i + 1], ARGV[i + 2]
      i = i + 3
    end
    run.last = #ids
    runs[#runs + 1] = run
  end
end

-- The id of a task that lives already, and whether it is this very publication, sent again after a lost answer.
local function find_living()
  for _, queue in ipairs(known_queues()) do
    for first = 1, redis.call('EXISTS', key(queue, 'tasks')) * #ids, AT_ONCE do
      local last = math.min(first + AT_ONCE - 1, #ids)
      local records = redis.call('HMGET', key(queue, 'tasks'), unpack(ids, first, last))
      for i = first, last do
        local record = records[i - first + 1]
        if record then return ids[i], string.sub(record, parse(record).start) == payloads[i] end
      end
    end
  end
end

local function find_refusal()
  for _, run in ipairs(runs) do
    local mode, left = gate_of(run.queue, now)
    for i = run.first, mode and run.last or 0 do
      if not is_awaited(run.queue, ids[i], payloads[i]) then return refusal(run.queue, mode, left) end
    end
  end
end

local function has_new_work(run)
  for i = run.first, run.last do
    if not parent_in(payloads[i]) then return true end
  end
end

local function find_overflow()
  local counts = {}
  for _, run in ipairs(runs) do
    counts[run.queue] = (counts[run.queue] or 0) + run.last - run.first + 1
    local full = overflow(run.queue, counts[run.queue], ARGV[1], ARGV[2])
    if full and has_new_work(run) then return full end
  end
end

-- Collects pairs for one command on one key, and sends them in pieces.
local function collector(command, name)
  local list = {}
  return function(first, second)
    if first then list[#list + 1], list[#list + 2] = first, second end
    if #list >= AT_ONCE or (not first and #list > 0) then
      redis.call(command, name, unpack(list))
      list = {}
    end
  end
end

local function add(run, arrival)
  local queue, delayed, ageing = run.queue, run.delay > 0, seconds_per_level(run.queue)
  local due = run.expires > 0 and math.min(now + run.delay, run.expires) or now + run.delay
  local record = collector('HSET', key(queue, 'tasks'))
  local place = collector('ZADD', key(queue, delayed and 'delayed' or 'ready'))
  -- most tasks of a run differ in their arrival only, and writing numbers takes a third of the time
  local task = { priority = run.priority, deliveries = 0, expires = run.expires, ordering = '' }
  local rest = rest_of_header(task)
  local one_score = delayed and digits(due) or ageing == 0 and digits(run.priority)
  for i = run.first, run.last do
    local arrived, own = digits(arrival), rest
    if orderings[i] ~= '' then
      task.ordering = orderings[i]
      own = rest_of_header(task)
    end
    record(ids[i], arrived .. own .. payloads[i])
    place(one_score or score_at(ageing, arrived, run.priority), arrived .. ids[i])
    arrival = arrival + 1
  end
  record()
  place()
  redis.call('SADD', root .. 'queues', queue)
  if due - now < HORIZON then wake(queue, run.last - run.first + 1) end
  return arrival
end

local twice = read_arguments()
if twice then return redis.error_reply('DUPLICATE ' .. twice) end
local id, same = find_living()
if same then return #ids end
if id then return redis.error_reply('DUPLICATE ' .. id) end
local refused = find_refusal() or find_overflow()
if refused then return refused end
local arrival = reserve_arrivals(now, #ids)
for _, run in ipairs(runs) do arrival = add(run, arrival) end
return #ids
