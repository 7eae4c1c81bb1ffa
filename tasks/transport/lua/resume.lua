-- Renews a consumer's lease after a reconnect and returns what it was given but never received.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  '1': it held a lease before    ARGV[3]  lease (microseconds)
-- ARGV[4+] the members that it knows it holds
-- Returns  'lost' when its lease is gone, else 'ok'
-- Cost     O(held * log N)
local consumer, now, known = ARGV[1], clock(), {}
if ARGV[2] == '1' and not redis.call('ZSCORE', root .. 'leases', consumer) then return 'lost' end
redis.call('ZADD', root .. 'leases', digits(now + tonumber(ARGV[3])), consumer)
for i = 4, #ARGV do known[ARGV[i]] = true end
for _, holding in ipairs(holdings(consumer)) do
  if not known[holding[1]] then
    redis.call('HDEL', root .. 'held:' .. consumer, holding[1])
    put_back(holding[2], holding[1], nil, '', consumer, now)
  end
end
return 'ok'
