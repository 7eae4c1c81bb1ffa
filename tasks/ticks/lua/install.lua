-- Installs declared entries. What is known of an entry stays: its ticks, its runs, its pause, when it is due.
--
-- KEYS[1]  redbeat's key prefix
-- ARGV     token, lease in milliseconds; then eight for each entry: name, redbeat's definition, redbeat's first meta,
--          spacing, jitter, misfire; for a new one also: its phase, '1' when its first tick is due now
-- Returns  1, or 0 when the asker no longer leads
-- Cost     O(log N) an entry
if not still_leads(ARGV[1], ARGV[2]) then return 0 end
local now = clock()

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

for i = 3, #ARGV, 8 do
  local key, spacing, phase = root .. ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 6])
  declare(key, unpack(ARGV, i, i + 5))
  local anchor = tonumber(redis.call('HGET', key, 'anchor') or 'inf')
  if anchor <= now + spacing then
    redis.call('ZADD', SCHEDULE, score(due(key, anchor, spacing, tonumber(ARGV[i + 4]))), key)
  else
    redis.call('HSET', key, 'anchor', digits(now + phase))
    redis.call('ZADD', SCHEDULE, score(ARGV[i + 7] == '1' and now or now + phase), key)
  end
end
return 1
