-- Shared by every script of the ledger: names of keys, the clock, leadership, boundaries.
--
-- KEYS[1]        redbeat's key prefix; times are microseconds of the server's clock, except redbeat's scores (seconds)
-- <prefix><task> hash of an entry: redbeat's `definition` and `meta`, and of our own
--                spacing, anchor, jitter (a part of the spacing), misfire: what was declared
--                slot, begun: number of the last tick that was claimed, and that has begun or needs not begin any more
--                run, started, ended, duration, lag, error: the last run; paused: '1' while an operator wants it so
--                runs, failures, missed, collapsed, overlapped: counters
-- :schedule      sorted set of the entries' keys, score = when the next tick is due
-- :statics       set of the names that were declared
-- :lock          token of the beat that leads, with its lease
-- :unsent        hash, name -> "slot due": ticks that were claimed, and of which it isn't known that they were sent
local root = KEYS[1]
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
