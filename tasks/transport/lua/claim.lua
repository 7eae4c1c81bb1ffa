-- Gives a consumer its next tasks, and settles those it has finished, in one trip.
--
-- KEYS[1]  root
-- ARGV[1]  consumer              ARGV[2]  '1': it held a lease before   ARGV[3] lease (microseconds)
-- ARGV[4]  grace after a server's start, in which nobody is declared dead (microseconds)
-- ARGV[5]  redeliveries allowed  ARGV[6]  number of finished tasks, then member and receipt of each, then,
--          unless it only settles: number of this claim, free slots, slots kept for urgent tasks, largest priority
--          number that is urgent, '1' when it may be registered as idle, '1' when it wants the news, the queues it
--          consumes
-- Returns  {'lost'} when its lease is gone, else
--          {'ok', {queue, id, worker, reason, ...} of tasks buried, '1' when registered as idle, microseconds until a
--           task is due or another consumer is dead or -1, {queue, member, '1' when expired, record, ...},
--           {consumer, id of each task that it had, ...} of a consumer found dead,
--           the news, if wanted: {above 0 when tasks are parked, {queue, limit, ...}, {queue in which tasks live, microseconds
--           since the arrival of its next task, '' without one, '1' when a worker lost that before, ...}}}
-- Cost     O(finished + queues * free * log N), and O(log N) for each ordering key of a task;
--          the returns of a dead consumer come on top, and the news, O(all queues)
local consumer, lease = ARGV[1], tonumber(ARGV[3])
local grace, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local question = 7 + 2 * tonumber(ARGV[6]) -- where it begins
local number, free, reserved = ARGV[question], tonumber(ARGV[question + 1] or '0'), tonumber(ARGV[question + 2])
local urgent, registered = tonumber(ARGV[question + 3]), ARGV[question + 4] == '1'
local curious = ARGV[question + 5] == '1'
local now, buried, died, queues = clock(), {}, {}, {}
local LINED_AT_ONCE = 100 -- so long a line of tasks for one node does not hold up the server

if not renew_lease(consumer, ARGV[2] == '1', now + lease) then return { 'lost' } end

for i = 7, question - 1, 2 do
  local queue = let_go(consumer, ARGV[i], ARGV[i + 1])
  if queue then finish(queue, ARGV[i]) end
end
for i = question + 6, #ARGV do queues[#queues + 1] = ARGV[i] end

-- Live workers need a moment to come back after the server itself was away.
local function server_is_settled()
  local uptime = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  return tonumber(uptime) * 1000000 >= grace
end

-- Returns when to look for the next one.
local function bury_or_return_the_dead()
  local first = redis.call('ZRANGE', root .. 'leases', 0, 0, 'WITHSCORES')
  local dead, ends = first[1], tonumber(first[2])
  if ends > now then return ends end
  if not server_is_settled() then return nil end
  died = { dead }
  for _, holding in ipairs(dispossess(dead)) do
    died[#died + 1] = string.sub(holding[1], 17)
    put_back(holding[2], holding[1], limit, 'its worker died', dead, now, buried)
  end
  forget_consumer(dead)
  return now
end

-- Moves what is due into the queue; returns the next due time.
local function promote(queue)
  local delayed = key(queue, 'delayed')
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if not first[1] or tonumber(first[2]) > now then return tonumber(first[2]) end
  for _, member in ipairs(redis.call('ZRANGE', delayed, '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 200)) do
    redis.call('ZREM', delayed, member)
    local _, task = lookup(queue, member)
    if task then make_ready(queue, member, task) end
  end
  first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  return tonumber(first[2])
end

-- The place of a head among several queues: its priority; in a queue with ageing, the priority that a
-- task which arrives now would need to be its equal.
local function candidates_of(queue, limit, ageing)
  local found, last = {}, free
  if limit then last = math.min(free, tonumber(limit) - running(queue) - 1) end
  if last < 0 then return found end
  local heads = redis.call('ZRANGE', key(queue, 'ready'), 0, last, 'WITHSCORES')
  for i = 1, #heads, 2 do
    local level = tonumber(heads[i + 1])
    if ageing > 0 then level = (level - now) / (ageing * 1000000) end
    found[#found + 1] = { queue = queue, member = heads[i], level = level }
  end
  return found
end

local function runnable()
  local found, next_due = {}, nil
  if #queues == 0 then return found, next_due end
  local paused = redis.call('HMGET', root .. 'paused', unpack(queues))
  local limits = redis.call('HMGET', root .. 'limits', unpack(queues))
  local ageing = redis.call('HMGET', root .. 'ageing', unpack(queues))
  for i, queue in ipairs(queues) do
    if not paused[i] then
      local due = promote(queue)
      if due and (not next_due or due < next_due) then next_due = due end
      for _, candidate in ipairs(candidates_of(queue, limits[i], tonumber(ageing[i] or '0'))) do found[#found + 1] = candidate end
    end
  end
  table.sort(found, in_order)
  return found, next_due
end

-- What workers look at from time to time, whether they have something to do or not. A queue that is paused has no next
-- task.
local function news()
  local waiting = {}
  for _, queue in ipairs(known_queues()) do
    if redis.call('HLEN', key(queue, 'tasks')) > 0 then
      local runs = redis.call('HEXISTS', root .. 'paused', queue) == 0
      local head = runs and redis.call('ZRANGE', key(queue, 'ready'), 0, 0)[1]
      local record, task
      if head then record, task = lookup(queue, head) end
      waiting[#waiting + 1] = queue
      waiting[#waiting + 1] = record and digits(math.max(0, now - tonumber(task.arrival))) or ''
      waiting[#waiting + 1] = record and task.deliveries > 0 and '1' or '0'
    end
  end
  return { redis.call('EXISTS', root .. 'parking', root .. 'lines'), redis.call('HGETALL', root .. 'limits'), waiting }
end

local function expired(task)
  return task.expires > 0 and task.expires <= now and '1' or '0'
end

-- Puts a task into the lines for its ordering keys; whether it is its turn in all of them, else it is parked.
local function takes_turn(queue, member, task)
  if task.ordering == '' then return true end
  local ordering, turn = cjson.decode(task.ordering), true
  redis.call('HSET', root .. 'entered', member, queue .. '\n' .. task.ordering)
  for _, name in ipairs(ordering.keys) do
    redis.call('ZADD', root .. 'line:' .. name, digits(task.priority), member)
    if ordering.mode == 'exclusive' then redis.call('ZADD', root .. 'line!:' .. name, digits(task.priority), member) end
    if ahead_in_line(member, task, name, ordering.mode) then
      redis.call('SADD', root .. 'lines', name)
      turn = false
    end
  end
  redis.call(turn and 'SREM' or 'SADD', root .. 'lined', member)
  if not turn then park(queue, member, now) end
  return turn
end

local given, left_over, taken, lined = {}, {}, 0, 0

local function give(queue, member, record, task)
  redis.call('HSET', root .. 'held:' .. consumer, member, number .. ' ' .. queue)
  taken = taken + 1
  for _, part in ipairs({ queue, member, expired(task), record }) do given[#given + 1] = part end
end

-- Gives what can start now; returns when the next task is due, and false when somebody had to stand in line, so that
-- others are next.
local function give_runnable()
  local found, next_due = runnable()
  for _, candidate in ipairs(found) do
    local queue, member = candidate.queue, candidate.member
    local record, task
    if taken < free then record, task = lookup(queue, member) end
    if record and (free - taken > reserved or task.priority <= urgent) then
      redis.call('ZREM', key(queue, 'ready'), member)
      if not takes_turn(queue, member, task) then
        lined = lined + 1
        return next_due, false
      end
      give(queue, member, record, task)
    elseif taken < free and not record then
      redis.call('ZREM', key(queue, 'ready'), member)
    else
      left_over[queue] = true
    end
  end
  return next_due, true
end

local next_death = bury_or_return_the_dead()
local next_due, complete
repeat next_due, complete = give_runnable() until complete or lined == LINED_AT_ONCE
if next_death and not (next_due and next_due < next_death) then next_due = next_death end

local idle = complete and taken < free
for _, queue in ipairs(queues) do
  if left_over[queue] then wake(queue, 1) end -- somebody else may have room for it
  if idle then
    local lifetime = redis.call('SADD', key(queue, 'idle'), consumer) == 1 and redis.call('GET', key(queue, 'expires'))
    if lifetime then redis.call('PEXPIRE', key(queue, 'idle'), lifetime) end
  elseif registered then
    redis.call('SREM', key(queue, 'idle'), consumer)
  end
end
return { 'ok', buried, idle and '1' or '0', next_due and digits(next_due - now) or '-1', given, died,
         curious and news() or {} }
