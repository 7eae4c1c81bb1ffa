-- change_priority: moves a waiter to where its old arrival and a new priority place it, and grants what that sets free.
-- A grant that wasn't confirmed yet stays; the new priority counts if it is set aside.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id
-- ARGV[2]  priority
-- ARGV[3]  ageing, us a level; empty: strict
-- Result   changed or lost (it doesn't wait), grants
-- O(names + requests granted).

sweep()
local request = load(ARGV[1])
if not request or not (request.state == 'waiting' or request.state == 'silent' or request.unconfirmed) then
  return answer('lost')
end
local doc = cjson.decode(request.doc)
doc.priority = tonumber(ARGV[2])
request.priority, request.ageing = doc.priority, tonumber(ARGV[3])
request.score = rank(request)
note(request.id, 'doc', cjson.encode(doc), 'score', string.format('%.17g', request.score))
if request.state == 'waiting' then
  stand(request)
  pump(request.names)
end
return answer('changed')
