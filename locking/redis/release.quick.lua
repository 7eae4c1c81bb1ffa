-- The usual release, of an exclusive lock for which nobody waits: put in front of common.lua and release.lua, see
-- acquire.quick.lua.
--
-- KEYS, ARGV and result: see release.lua; keys: see common.lua. O(names).
do
  local P, id = KEYS[1], ARGV[1]
  local known = redis.call('HMGET', P .. 'r:' .. id, 'state', 'want', 'delay')
  local want = known[1] == 'held' and cjson.decode(known[2]) or { s = true }
  if not want.s then
    local time = redis.call('TIME')
    local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
    local queues, gone = {}, { P .. 'r:' .. id }
    for i, name in ipairs(want.x) do
      queues[i], gone[i + 1] = P .. 'q:' .. name, P .. 'h:' .. name
    end
    local ends = tonumber(redis.call('ZSCORE', P .. 'ends', id) or 0) - known[3]
    if ends > now and redis.call('EXISTS', unpack(queues)) == 0 then
      redis.call('DEL', unpack(gone))
      redis.call('ZREM', P .. 'ends', id)
      return 'granted\n'
    end
  end
end
