-- The usual release, of an exclusive lock without lock delay for which nobody waits: put in front of the rest, see
-- acquire.quick.lua. A lease that has ended without anybody noticing is no matter here: the holder knows.
--
-- KEYS, ARGV and result: see release.lua; keys: see common.lua. O(names).
do
  local P, id = KEYS[1], ARGV[1]
  local known = redis.call('HMGET', P .. 'r:' .. id, 'state', 'want', 'delay')
  local want = known[1] == 'held' and cjson.decode(known[2]) or { s = true }
  if not want.s and known[3] == '0' and #want.x < 4000 then
    local queues, gone = {}, { P .. 'r:' .. id }
    for i, name in ipairs(want.x) do
      queues[i], gone[i + 1] = P .. 'q:' .. name, P .. 'h:' .. name
    end
    if redis.call('EXISTS', unpack(queues)) == 0 then
      redis.call('DEL', unpack(gone))
      redis.call('ZREM', P .. 'times', id)
      return 'granted\n'
    end
  end
end
