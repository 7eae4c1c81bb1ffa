-- The usual acquire, where nobody is on the names: put in front of common.lua, queue.lua and acquire.lua, it answers before those
-- are even set up, which halves the time of a free acquire. It writes exactly what their grant would.
--
-- KEYS, ARGV and result: see acquire.lua; keys: see common.lua. O(names).
do
  local P, id, want = KEYS[1], ARGV[1], cjson.decode(ARGV[3])
  local holds, look = {}, { P .. 'r:' .. id }
  if ARGV[8] ~= '' then
    look[2] = P .. 'r:' .. ARGV[8]
  end
  for mode, names in pairs(want) do
    for _, name in ipairs(names) do
      local hold = P .. 'h:' .. name
      holds[hold] = mode
      look[#look + 1] = hold
      look[#look + 1] = P .. 'q:' .. name
    end
  end
  if redis.call('EXISTS', unpack(look)) == 0 then
    local life, delay, ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
    local time = redis.call('TIME')
    local now_us = time[1] * 1000000 + time[2]
    local now = math.floor(now_us / 1000)
    local fence = string.format('%.0f', now_us)
    local last = tonumber(redis.call('SET', P .. 'clock', fence, 'GET') or 0)
    if last >= now_us then
      fence = string.format('%.0f', last + 1)
      redis.call('SET', P .. 'clock', fence)
    end
    for hold, mode in pairs(holds) do
      redis.call('HSET', hold, id, mode)
      redis.call('PEXPIRE', hold, ttl)
    end
    if want.x then
      local marks = {}
      for i, name in ipairs(want.x) do
        marks[2 * i - 1], marks[2 * i] = fence, name
      end
      redis.call('ZADD', P .. 'exclusive', unpack(marks))
      redis.call('PEXPIRE', P .. 'exclusive', 7200000)
    end
    redis.call('HSET', P .. 'r:' .. id, 'doc', ARGV[2], 'want', ARGV[3], 'owner', ARGV[4], 'state', 'held', 'fence',
      fence, 'since', string.format('%.0f', now), 'delay', ARGV[6])
    redis.call('PEXPIRE', P .. 'r:' .. id, ttl)
    redis.call('ZADD', P .. 'ends', string.format('%.0f', now + life + delay), id)
    if redis.call('PTTL', P .. 'ends') < tonumber(ttl) then
      redis.call('PEXPIRE', P .. 'ends', string.format('%.0f', ttl + 3600000))
    end
    return table.concat({ 'granted', '', fence, ARGV[5], ARGV[3] }, '\n')
  end
end
