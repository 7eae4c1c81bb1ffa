-- Renews a consumer's lease after a reconnect and returns what it was given but never received.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  '1': it held a lease before    ARGV[3]  lease (microseconds)
-- ARGV[4+] member and receipt of each task that it knows it holds
-- Returns  {'lost'} when its lease is gone, else
--          {'ok', {queue, id, worker, reason, ...} of dead letters whose finders did not tell of them}
-- Cost     O(held * log N); a dead letter that nobody told of costs O(queues)
local consumer, now, known = ARGV[1], clock(), {}

-- At most one at a time looks after a dead letter; what was retried or dropped meanwhile is forgotten.
local function untold_letters()
  local letters = {}
  for _, id in ipairs(redis.call('ZRANGE', root .. 'untold', '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 100)) do
    local queue, letter = find_letter(id)
    if queue then
      local told = cjson.decode(string.match(letter, '^[^\n]*'))
      report(letters, queue, id, told.worker, told.reason)
      redis.call('ZADD', root .. 'untold', digits(now + TELL_WITHIN), id)
    else
      redis.call('ZREM', root .. 'untold', id)
    end
  end
  return letters
end

if not renew_lease(consumer, ARGV[2] == '1', now + tonumber(ARGV[3])) then return { 'lost' } end
for i = 4, #ARGV, 2 do known[ARGV[i] .. ARGV[i + 1]] = true end
for _, holding in ipairs(holdings(consumer)) do
  if not known[holding[1] .. holding[3]] then
    let_go(consumer, holding[1], holding[3])
    put_back(holding[2], holding[1], nil, '', consumer, now)
  end
end
return { 'ok', untold_letters() }
