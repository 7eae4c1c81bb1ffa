-- Shared by every script: the clock, the records, who counts, the answer.
--
-- Keys come in pairs, one for each group; all verbs but beat take one pair.
-- KEYS[1]  members  hash, name -> record: "lease-end hold-down-end joined standing weight incarnation";
--          times are microseconds of the server's clock, a standing is active, waiting or draining
-- KEYS[2]  epoch    time of the last change of who counts, made to grow strictly; it outlives the members
-- ARGV[1]  grace after a server's start, in which nobody is declared dead (microseconds)
local members, members_key, epoch_key
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])

local function digits(number)
  return string.format('%.0f', number)
end

local function load()
  members = {}
  local flat = redis.call('HGETALL', members_key)
  for i = 1, #flat, 2 do
    local ends, due, joined, standing, weight, incarnation =
      string.match(flat[i + 1], '^(%d+) (%d+) (%d+) (%a+) (%S+) (%S+)$')
    members[flat[i]] = {
      ends = tonumber(ends), due = tonumber(due), joined = tonumber(joined),
      standing = standing, weight = weight, incarnation = incarnation,
    }
  end
end

local function save(name)
  local m = members[name]
  redis.call('HSET', members_key, name, table.concat(
    { digits(m.ends), digits(m.due), digits(m.joined), m.standing, m.weight, m.incarnation }, ' '))
end

local function remove(name)
  members[name] = nil
  redis.call('HDEL', members_key, name)
end

local function names()
  local sorted = {}
  for name in pairs(members) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  return sorted
end

-- All that the ring depends on, and the incarnations: whoever acts under an epoch is told from its predecessor.
local function who_counts()
  local parts = {}
  for _, name in ipairs(names()) do
    local m = members[name]
    if m.standing == 'active' then parts[#parts + 1] = name .. ' ' .. m.weight .. ' ' .. m.incarnation end
  end
  return table.concat(parts, '\n')
end

-- Live members need a moment to show up after the server itself was away.
local function server_is_settled()
  local uptime = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  return tonumber(uptime) * 1000000 >= tonumber(ARGV[1])
end

local function drop_the_dead()
  for _, name in ipairs(names()) do
    if members[name].ends <= now then
      if not server_is_settled() then return end
      remove(name)
    end
  end
end

-- A hold-down protects members from a newcomer's flapping; where nobody counts there is nobody to protect.
local function let_count()
  local nobody = who_counts() == ''
  for _, name in ipairs(names()) do
    local m = members[name]
    if m.standing == 'waiting' and (m.due <= now or nobody) then
      m.standing = 'active'
      save(name)
    end
  end
end

local function next_change()
  local first
  for _, m in pairs(members) do
    for _, moment in ipairs({ m.ends, m.standing == 'waiting' and m.due or m.ends }) do
      if moment > now and (not first or moment < first) then first = moment end
    end
  end
  return first and digits(first - now) or '-1'
end

-- Returns {epoch, microseconds to the next change or -1, name, incarnation, weight, standing, lease left, age, ...}.
local function view()
  local answer = { redis.call('GET', epoch_key) or '0', next_change() }
  for _, name in ipairs(names()) do
    local m = members[name]
    for _, part in ipairs({ name, m.incarnation, m.weight, m.standing,
                            digits(math.max(m.ends - now, 0)), digits(now - m.joined) }) do
      answer[#answer + 1] = part
    end
  end
  return answer
end

-- Runs one verb, between the sweep and the answer, on the group whose keys begin at `first`. Defaults to 1.
local function run(verb, first)
  members_key, epoch_key = KEYS[first or 1], KEYS[(first or 1) + 1]
  load()
  local before = who_counts()
  drop_the_dead()
  verb()
  let_count()
  if who_counts() ~= before then
    local epoch = tonumber(redis.call('GET', epoch_key) or '0')
    redis.call('SET', epoch_key, digits(math.max(now, epoch + 1)))
  end
  return view()
end
