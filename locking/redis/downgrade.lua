-- downgrade: makes all names of a holder shared, under the same fence, and lets the sharers in that head the queues.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id
-- Result   granted, grants, fence, ms left, want | lost, grants, {}
-- O(names + requests granted).

sweep()
local request = load(ARGV[1])
if not alive(request) then
  return answer('lost', '{}')
end
if request.want.x and request.state == 'held' then
  rewant(request, 's')
  for _, name in ipairs(request.names) do
    redis.call('HSET', P .. 'h:' .. name, request.id, 's')
  end
  redis.call('HSET', P .. 'r:' .. request.id, 'want', request.want_text)
  pump(request.names)
end
return answer_granted(request)
