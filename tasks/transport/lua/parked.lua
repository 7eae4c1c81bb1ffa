-- Lists parked tasks for the one worker whose turn it is to look after them, and hands out those that have expired.
-- Those that stand in line are not listed; a line gets on whose first is not claimed though it could be, or is no more.
--
-- KEYS[1]  root
-- ARGV[1]  milliseconds until the next turn; for many tasks it is a millisecond for each
-- Returns  nil when it is nobody's turn, else {member, ...}
-- Cost     O(1) out of turn, else O(parked)
if not redis.call('SET', root .. 'turn', '1', 'NX', 'PX', ARGV[1]) then return nil end
local now, found, lined = clock(), {}, {}
for _, member in ipairs(redis.call('SMEMBERS', root .. 'lined')) do lined[member] = true end
for _, queue in ipairs(redis.call('SMEMBERS', root .. 'parking')) do
  for _, member in ipairs(redis.call('ZRANGE', key(queue, 'parked'), '-inf', digits(now), 'BYSCORE')) do
    local _, task = lookup(queue, member)
    if task then
      unpark(queue, member, task)
    else
      redis.call('ZREM', key(queue, 'parked'), member)
    end
  end
  local members = redis.call('ZRANGE', key(queue, 'parked'), 0, -1)
  if #members == 0 then redis.call('SREM', root .. 'parking', queue) end
  for _, member in ipairs(members) do
    if not lined[member] then found[#found + 1] = member end
  end
end
for _, name in ipairs(sorted(redis.call('SMEMBERS', root .. 'lines'))) do
  local first = redis.call('ZRANGE', root .. 'line:' .. name, 0, 0)[1]
  local queue = first and entry_of(first)
  if queue and place_of(queue, first) == 'ready' then end_turn(first) else let_next_go({ name }) end
end
if #found > tonumber(ARGV[1]) then redis.call('PEXPIRE', root .. 'turn', #found) end
return found
