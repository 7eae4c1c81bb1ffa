-- Shared by every script of the ledger: names of keys, the clock, leadership, boundaries.
--
-- KEYS[1]        prefix of one schedule: redbeat's key prefix, or "<redbeat's>worker:<worker>:" for a worker's own
-- KEYS[2]        redbeat's key prefix
-- Times are microseconds of the server's clock, except the scores of :schedule (seconds, as redbeat wants them).
-- Of a schedule:
-- <prefix><task> hash of an entry: redbeat's `definition` and `meta`, and of our own
--                spacing, anchor, jitter (a part of the spacing), misfire: what was declared
--                slot, begun: number of the last tick that was claimed, and that has begun or needs not begin any more
--                run, started, ended, duration, lag, error: the last run
--                runs, failures, missed, collapsed, overlapped: counters
-- :schedule      sorted set of the entries' keys, score = when the next tick is due
-- :statics       set of the names that were declared
-- :lock          token of the beat that leads, with its lease
-- :unsent        hash, name -> "slot due": ticks that were claimed, and of which it isn't known that they were sent
-- Of all schedules, under redbeat's prefix:
-- :paused        set of the names of tasks that an operator has paused
-- :workers       sorted set of the workers that have schedules of their own, score = their last pass
local root = KEYS[1]
local PAUSED, WORKERS = KEYS[2] .. ':paused', KEYS[2] .. ':workers'
local SCHEDULE, STATICS, LOCK, UNSENT = root .. ':schedule', root .. ':statics', root .. ':lock', root .. ':unsent'

local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function digits(number)
  return string.format('%.0f', number)
end

local function score(moment)
  return string.format('%.6f', moment / 1000000)
end

-- Renews the lease of the beat that leads; false for any other.
local function still_leads(token, lease)
  return redis.call('GET', LOCK) == token and redis.call('PEXPIRE', LOCK, lease) == 1
end

-- The moment of boundary number k. Its jitter follows from its number, so it never adds up and every beat agrees.
local function moment_of(key, k, anchor, spacing, jitter)
  local share = tonumber(string.sub(redis.sha1hex(key .. digits(k)), 1, 8), 16) / 4294967296
  return anchor + k * spacing + math.floor(share * jitter * spacing)
end

-- Lets what is known of an entry end so long after its next tick should have come; a lifetime of 0 has no end.
local function keep(key, lifetime, spacing)
  if lifetime > 0 then redis.call('PEXPIRE', key, digits(lifetime + 2 * spacing / 1000)) end
end
