-- transfer: puts a grant under another id, owner and lease; its fence and its names stay. No instant without a holder.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id of the present holder
-- ARGV[2]  request id of the next holder
-- ARGV[3]  how, JSON as in acquire
-- ARGV[4]  the next owner
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
  keep(P .. 'h:' .. name, successor.lease + request.delay)
end
loaded[request.id] = nil
redis.call('RENAME', P .. 'r:' .. request.id, P .. 'r:' .. ARGV[2])
note(ARGV[2], 'doc', cjson.encode(successor), 'owner', ARGV[4])
redis.call('ZREM', P .. 'times', request.id)
request.id = ARGV[2]
extend(request, successor.lease)
outlive(request, successor.lease + request.delay)
return answer_granted(request)
