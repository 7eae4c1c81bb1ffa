-- transfer: puts a grant under another id, owner and lease; its fence and its names stay. No instant without a holder.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id of the present holder
-- ARGV[2]  request id of the next holder
-- ARGV[3]  the next holder, JSON as in acquire
-- Result   granted, grants, fence, ms left, want | lost, grants, {}
-- O(names).

sweep()
local done = load(ARGV[2])
if alive(done) then
  return answer_granted(done)
end
local request = load(ARGV[1])
if not alive(request) or request.state ~= 'held' then
  return answer('lost', '{}')
end
local successor = cjson.decode(ARGV[3])
successor.hold, successor.delay = request.hold, request.delay
for _, name in ipairs(request.names) do
  redis.call('HDEL', P .. 'h:' .. name, request.id)
  redis.call('HSET', P .. 'h:' .. name, ARGV[2], request.modes[name])
  keep(P .. 'h:' .. name, successor.lease + request.delay + BACKSTOP)
end
redis.call('RENAME', P .. 'r:' .. request.id, P .. 'r:' .. ARGV[2])
redis.call('HSET', P .. 'r:' .. ARGV[2], 'doc', cjson.encode(successor))
redis.call('ZREM', P .. 'ends', request.id)
redis.call('SREM', P .. 'o:' .. request.owner, request.id)
redis.call('SADD', P .. 'o:' .. successor.owner, ARGV[2])
request.id, request.owner = ARGV[2], successor.owner
extend(request, successor.lease)
outlive(request, successor.lease + request.delay + BACKSTOP)
return answer_granted(request)
