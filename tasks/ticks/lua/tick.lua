-- One pass of whoever leads: settles what it sent, claims the ticks that are due, tells what is to be sent.
--
-- A tick that was claimed is sent until somebody says that it was. While ticks of a task wait for a worker, only the
-- first, second, fourth, eighth ... is sent: a backlog stays small, and a message that was lost stops no schedule.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     token, lease in milliseconds, lifetime in milliseconds as in install, the worker whose schedule it is ('' =
--          beat's), how many entries to look at; then three for each tick sent: name, "slot due", redbeat's meta
-- Returns  {now, moment of the next tick ('' = none), {name, "slot due", ...}, keys of entries that aren't ours}, or
--          {} when the asker no longer leads
-- Cost     O(log N) an entry
local GRACE = 60000000 -- a tick that is later is a misfire
local STRANGER_AGAIN = 5000000 -- as redbeat looks again at an entry that is disabled

if not still_leads(ARGV[1], ARGV[2]) then return {} end
local now, lifetime, worker = clock(), tonumber(ARGV[3]), ARGV[4]

for i = 6, #ARGV, 3 do
  local name, tick, meta = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HGET', UNSENT, name) == tick then
    redis.call('HDEL', UNSENT, name)
    redis.call('HSET', root .. name, 'meta', meta)
  end
end

local function hand_out(key, due, begun)
  local name = string.sub(key, #root + 1)
  local unsent = redis.call('HGET', UNSENT, name)
  if unsent and tonumber(string.match(unsent, '^%d+')) <= begun then
    redis.call('HDEL', UNSENT, name) -- it has begun, so it was sent
  end
  local slot = redis.call('HINCRBY', key, 'slot', 1)
  local power = math.frexp(slot - begun) == 0.5
  if power and redis.call('HSETNX', UNSENT, name, digits(slot) .. ' ' .. digits(due)) == 1 then return end
  redis.call('HINCRBY', key, 'collapsed', 1)
end

-- Claims the tick of the present boundary, and counts those that nobody claimed in their time.
local function claim(key, due)
  local known = redis.pcall('HMGET', key, 'spacing', 'anchor', 'jitter', 'misfire', 'begun')
  if known.err or not (known[1] and known[2] and known[3]) then
    redis.call('ZADD', SCHEDULE, score(now + STRANGER_AGAIN), key)
    return false
  end
  local spacing, anchor, jitter = tonumber(known[1]), tonumber(known[2]), tonumber(known[3])
  local wanted, present = math.floor((due - anchor) / spacing), math.floor((now - anchor) / spacing)
  redis.call('ZADD', SCHEDULE, score(moment_of(key, present + 1, anchor, spacing, jitter)), key)
  keep(key, lifetime, spacing)
  if redis.call('SISMEMBER', PAUSED, string.sub(key, #root + 1)) == 1 then return true end
  local since = present == wanted and due or anchor + present * spacing
  local missed = present - wanted
  if known[4] == 'skip' and now - since > GRACE then
    missed = missed + 1
  else
    hand_out(key, since, tonumber(known[5] or '0'))
  end
  if missed > 0 then redis.call('HINCRBY', key, 'missed', missed) end
  return true
end

local strangers = {}
local due = redis.call('ZRANGEBYSCORE', SCHEDULE, 0, score(now), 'WITHSCORES', 'LIMIT', 0, ARGV[5])
for i = 1, #due, 2 do
  if not claim(due[i], math.floor(tonumber(due[i + 1]) * 1000000 + 0.5)) then strangers[#strangers + 1] = due[i] end
end
if worker ~= '' then
  redis.call('ZADD', WORKERS, score(now), worker)
  redis.call('ZREMRANGEBYSCORE', WORKERS, 0, score(now - lifetime * 1000))
  for _, key in ipairs({ SCHEDULE, STATICS, UNSENT }) do redis.call('PEXPIRE', key, lifetime) end
end
local nearest = redis.call('ZRANGEBYSCORE', SCHEDULE, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
return {
  digits(now), nearest and digits(tonumber(nearest) * 1000000) or '', redis.call('HGETALL', UNSENT), strangers,
}
