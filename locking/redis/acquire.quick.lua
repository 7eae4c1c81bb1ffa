-- The usual acquire, where nobody is on the names: put in front of common.lua, queue.lua and acquire.lua, it answers before those
-- are even set up, which halves the time of a free acquire. It writes exactly what their grant would.
--
-- KEYS, ARGV and result: see acquire.lua; keys: see common.lua. O(names); Lua can't look at more than some thousand keys at once.
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
  if #look < 4000 and redis.call('EXISTS', unpack(look)) == 0 then
    local ttl, time = ARGV[7], redis.call('TIME')
    local now_us = time[1] * 1000000 + time[2]
    local now = math.floor(now_us / 1000)
    local fence = string.format('%.0f', now_us)
    local last = tonumber(redis.call('SET', P .. 'clock', fence, 'GET') or 0)
    local behind = last >= now_us
    if behind then
      fence = string.format('%.0f', last + 1)
      redis.call('SET', P .. 'clock', fence)
    end
    for hold, mode in pairs(holds) do
      redis.call('HSET', hold, id, mode)
      redis.call('PEXPIRE', hold, ttl)
    end
    local times, marks = { string.format('%.0f', now + ARGV[5] + ARGV[6]), id }, want.x or {}
    for i, name in ipairs(marks) do
      times[2 * i + 1], times[2 * i + 2] = fence, '\0' .. name
    end
    local new = redis.call('ZADD', P .. 'times', unpack(times))
    -- A key with an old mark in it lives long enough for a lease of an hour; see look_after_times in common.lua.
    local old_mark = marks[1] and new == 1 and ttl + 0 <= 7200000
    if not old_mark or behind or math.floor(last / 3.6e9) < math.floor(now_us / 3.6e9) then
      local life = math.max(10800000, ttl + 0)
      if redis.call('PTTL', P .. 'times') < life then
        redis.call('PEXPIRE', P .. 'times', string.format('%.0f', life + 3600000))
        redis.call('ZREMRANGEBYSCORE', P .. 'times', '1e14', string.format('%.0f', now_us - 3.6e9))
      end
    end
    redis.call('HSET', P .. 'r:' .. id, 'doc', ARGV[2], 'want', ARGV[3], 'owner', ARGV[4], 'state', 'held', 'fence',
      fence, 'since', string.format('%.0f', now), 'delay', ARGV[6])
    redis.call('PEXPIRE', P .. 'r:' .. id, ttl)
    return 'granted\n\n' .. fence .. '\n' .. ARGV[5] .. '\n'
  end
end
