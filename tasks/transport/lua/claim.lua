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
--          {'<1 when registered as idle> <microseconds until a task is due or another consumer is dead, or -1>',
--           '<1 when expired><length of queue> <queue><member>', record, ...}, and behind them, when there is any,
--          {{queue, id, worker, reason, ...} of tasks buried,
--           {consumer, id of each task that it had, ...} of a consumer found dead,
--           the news, if wanted: {above 0 when tasks are parked, {queue, limit, ...}, {queue in which tasks live,
--           microseconds since the arrival of its next task, '' without one, '1' when a worker lost that before, ...}}}
--          in few parts, for the reader pays for each
-- Cost     O(finished + queues * free * log N), and O(log N) for each ordering key of a task;
--          the returns of a dead consumer come on top, and the news, O(all queues)
local consumer, lease = ARGV[1], tonumber(ARGV[3])
local question = 7 + 2 * tonumber(ARGV[6]) -- where it begins
local number, free, reserved = ARGV[question], tonumber(ARGV[question + 1] or '0'), tonumber(ARGV[question + 2])
local urgent, registered = tonumber(ARGV[question + 3]), ARGV[question + 4] == '1'
local curious = ARGV[question + 5] == '1'
local now = clock()
local queues, answer, taken, left_over, lined = {}, {}, 0, {}, 0
local buried, died = {}, {}
local LINED_AT_ONCE = 100 -- so long a line of tasks for one node does not hold up the server
local seldom -- returns what few claims need, and is defined last

-- Without any of these, nothing stands between a task and its slot but its place in the order.
local plain = redis.call('EXISTS', root .. 'paused', root .. 'limits', root .. 'ageing', root .. 'entered',
                         root .. 'cancelled', root .. 'recalled') == 0

-- The first tasks of all queues in their order, and when the next one is due. Their level is the priority; in a queue
-- with ageing, the priority that a task which arrives now would need to be its equal.
local function runnable()
  local found, next_due, terms = {}, nil, plain and {} or seldom().terms()
  for _, queue in ipairs(queues) do
    local last, ageing = free, 0
    if terms[queue] then last, ageing = terms[queue].last, terms[queue].ageing end
    local due = last and tonumber(redis.call('ZRANGE', key(queue, 'delayed'), 0, 0, 'WITHSCORES')[2])
    if due and due <= now then due = seldom().promote(queue) end
    if due and (not next_due or due < next_due) then next_due = due end
    local heads = last and last >= 0 and redis.call('ZRANGE', key(queue, 'ready'), 0, last, 'WITHSCORES') or {}
    for i = 1, #heads, 2 do
      local level = tonumber(heads[i + 1])
      if ageing > 0 then level = (level - now) / (ageing * 1000000) end
      found[#found + 1] = { queue = queue, member = heads[i], level = level }
    end
  end
  if #found > 1 then table.sort(found, in_order) end
  return found, next_due
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
      if task.ordering ~= '' and not seldom().takes_turn(queue, member, task) then
        lined = lined + 1
        return next_due, false
      end
      redis.call('HSET', root .. 'held:' .. consumer, member, number .. ' ' .. queue)
      local expired = task.expires > 0 and task.expires <= now
      taken = taken + 1
      answer[2 * taken] = (expired and '1' or '0') .. #queue .. ' ' .. queue .. member
      answer[2 * taken + 1] = record
    elseif taken < free and not record then
      redis.call('ZREM', key(queue, 'ready'), member)
    else
      left_over[queue] = true
    end
  end
  return next_due, true
end

local function claim()
  if not renew_lease(consumer, ARGV[2] == '1', now + lease) then return { 'lost' } end
  for i = 7, question - 1, 2 do
    local queue = give_up(consumer, ARGV[i], ARGV[i + 1])
    local removed = queue and remove(queue, ARGV[i])
    if queue and not plain then seldom().forget(ARGV[i], removed) end
  end
  for i = question + 6, #ARGV do queues[#queues + 1] = ARGV[i] end

  local first = redis.call('ZRANGE', root .. 'leases', 0, 0, 'WITHSCORES')
  local next_death = tonumber(first[2])
  if next_death <= now then next_death = seldom().return_the_tasks_of(first[1]) end
  local next_due, complete
  repeat next_due, complete = give_runnable() until complete or lined == LINED_AT_ONCE
  if next_death and not (next_due and next_due < next_death) then next_due = next_death end

  local idle = complete and taken < free
  for _, queue in ipairs(queues) do
    if left_over[queue] then wake(queue, 1) end -- somebody else may have room for it
    if idle then
      if redis.call('SADD', key(queue, 'idle'), consumer) == 1 then seldom().let_expire(queue) end
    elseif registered then
      redis.call('SREM', key(queue, 'idle'), consumer)
    end
  end
  answer[1] = (idle and '1 ' or '0 ') .. (next_due and digits(next_due - now) or '-1')
  if curious or #buried > 0 or #died > 0 then
    answer[2 * taken + 2] = { buried, died, curious and seldom().news() or {} }
  end
  return answer
end

-- What follows is made when it is needed: a run pays for each function that it makes, as much as for a command.
local made
function seldom()
  if made then return made end
  made = {}
  -- HELPERS
  local grace, limit = tonumber(ARGV[4]), tonumber(ARGV[5])

  -- A task has ended: its turn is over, and what was noted about it while it ran is past.
  function made.forget(member, removed)
    end_turn(member)
    if removed then unflag(string.sub(member, 17)) end
  end

  -- Live workers need a moment to come back after the server itself was away.
  local function server_is_settled()
    local uptime = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
    return tonumber(uptime) * 1000000 >= grace
  end

  function made.return_the_tasks_of(dead)
    if not server_is_settled() then return nil end
    died[1] = dead
    for _, holding in ipairs(dispossess(dead)) do
      died[#died + 1] = string.sub(holding[1], 17)
      put_back(holding[2], holding[1], limit, 'its worker died', dead, now, buried)
    end
    forget_consumer(dead)
    return now
  end

  function made.promote(queue)
    local delayed = key(queue, 'delayed')
    for _, member in ipairs(redis.call('ZRANGE', delayed, '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 200)) do
      redis.call('ZREM', delayed, member)
      local _, task = lookup(queue, member)
      if task then make_ready(queue, member, task) end
    end
    return tonumber(redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2])
  end

  -- Of each queue the rank of the last task that may be looked at, below 0 when it is full, nil when it is paused; and
  -- its seconds per level.
  function made.terms()
    local found = {}
    if #queues == 0 then return found end
    local paused = redis.call('HMGET', root .. 'paused', unpack(queues))
    local limits = redis.call('HMGET', root .. 'limits', unpack(queues))
    local ageing = redis.call('HMGET', root .. 'ageing', unpack(queues))
    for i, queue in ipairs(queues) do
      local last = not paused[i] and free or nil
      if last and limits[i] then last = math.min(free, tonumber(limits[i]) - running(queue) - 1) end
      found[queue] = { last = last, ageing = tonumber(ageing[i] or '0') }
    end
    return found
  end

  -- Puts a task into the lines for its ordering keys; whether it is its turn in all of them, else it is parked.
  function made.takes_turn(queue, member, task)
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

  function made.let_expire(queue)
    local lifetime = redis.call('GET', key(queue, 'expires'))
    if lifetime then redis.call('PEXPIRE', key(queue, 'idle'), lifetime) end
  end

  -- What workers look at from time to time, whether they have something to do or not. A queue that is paused has no
  -- next task.
  function made.news()
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

  return made
end

return claim()
