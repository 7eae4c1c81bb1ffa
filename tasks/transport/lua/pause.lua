-- Adds or takes away one reason for which a queue is paused; it runs when none is left.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  reason    ARGV[3]  '1': add the reason, '0': take it away
-- Returns  the number of reasons left
-- Cost     O(reasons); waking O(idle consumers)
local queue, reasons, count = ARGV[1], {}, 0
local stored = redis.call('HGET', root .. 'paused', queue)
if stored then reasons = cjson.decode(stored) end
if ARGV[3] == '1' then
  reasons[ARGV[2]] = reasons[ARGV[2]] or digits(clock())
else
  reasons[ARGV[2]] = nil
end
for _ in pairs(reasons) do count = count + 1 end
if count > 0 then
  redis.call('HSET', root .. 'paused', queue, cjson.encode(reasons))
else
  redis.call('HDEL', root .. 'paused', queue)
  wake(queue, redis.call('ZCARD', key(queue, 'ready')))
end
return count
