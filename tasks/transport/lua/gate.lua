-- Closes a queue to new tasks, for a time at most, or takes that back.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  token of whoever closes it    ARGV[3]  'block' or 'reject'; '' to open it again
-- ARGV[4]  for how long at most (microseconds)
-- Returns  1
-- Cost     O(tokens)
local queue, now, gates = ARGV[1], clock(), {}
local stored = redis.call('HGET', root .. 'gates', queue)
if stored then gates = cjson.decode(stored) end
for token, gate in pairs(gates) do
  if tonumber(gate.closed_until) <= now then gates[token] = nil end
end
gates[ARGV[2]] = ARGV[3] ~= '' and { mode = ARGV[3], closed_until = digits(now + tonumber(ARGV[4])) } or nil
if next(gates) then
  redis.call('HSET', root .. 'gates', queue, cjson.encode(gates))
else
  redis.call('HDEL', root .. 'gates', queue)
end
return 1
