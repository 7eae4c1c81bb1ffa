-- Installs declared entries. What is known of an entry stays: its ticks, its runs, when it is due.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     token, lease in milliseconds, lifetime of an entry in milliseconds beyond its spacing ('0' = no end); then
--          eight for each entry: name, redbeat's definition, redbeat's first meta, spacing, jitter, misfire; its phase
--          where it is new; when its first tick is due now: 'new' where it is new, 'always', or 'never'
-- Returns  1, or 0 when the asker no longer leads
-- Cost     O(log N) an entry
if not still_leads(ARGV[1], ARGV[2]) then return 0 end
local now, lifetime = clock(), tonumber(ARGV[3])

local function declare(key, name, definition, meta, spacing, jitter, misfire)
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  redis.call('HSET', key, 'definition', definition, 'spacing', spacing, 'jitter', jitter, 'misfire', misfire)
  redis.call('HSETNX', key, 'meta', meta)
  redis.call('SADD', STATICS, name)
end

-- When a known entry is due. A time that its boundaries cannot give is none: the spacing changed, or the server's clock
-- was set back.
local function due(key, anchor, spacing, jitter)
  local known = tonumber(redis.call('ZSCORE', SCHEDULE, key))
  local following = moment_of(key, math.floor((now - anchor) / spacing) + 1, anchor, spacing, jitter)
  return known and math.min(known * 1000000, following) or following
end

local function first_due(key, spacing, jitter, phase, at_once)
  local anchor = tonumber(redis.call('HGET', key, 'anchor') or 'inf')
  if anchor <= now + spacing then
    return at_once == 'always' and now or due(key, anchor, spacing, jitter)
  end
  redis.call('HSET', key, 'anchor', digits(now + phase))
  return at_once == 'never' and now + phase or now
end

for i = 4, #ARGV, 8 do
  local key, spacing = root .. ARGV[i], tonumber(ARGV[i + 3])
  declare(key, unpack(ARGV, i, i + 5))
  local moment = first_due(key, spacing, tonumber(ARGV[i + 4]), tonumber(ARGV[i + 6]), ARGV[i + 7])
  redis.call('ZADD', SCHEDULE, score(moment), key)
  keep(key, lifetime, spacing)
end
return 1
