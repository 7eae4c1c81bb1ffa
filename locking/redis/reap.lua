-- reap: ends every request of an owner that is known dead. A lock delay begins now.
--
-- KEYS[1]  prefix
-- ARGV[1]  owner, matched exactly
-- Result   reaped, grants, how many held a lock
-- O(all requests + requests of the owner * names + requests granted): rare, and so no index slows the usual verbs.

sweep()
local names, count = {}, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'times', '-inf', MARKS)) do
  local request = redis.call('HGET', P .. 'r:' .. id, 'owner') == ARGV[1] and load(id) or nil
  if request and request.mailbox == '' and (request.unconfirmed or not holds(request)) then
    request = nil -- nobody is in it, so it didn't die with its owner
  end
  local held = alive(request)
  if held then
    count = count + 1
  end
  if held and request.delay > 0 then
    if request.state == 'upgrading' then
      leave_queues(request)
      note(id, 'state', 'held')
    end
    redis.call('ZADD', P .. 'times', digits(NOW + request.delay), id)
  elseif request and (held or not holds(request)) then
    remove(request)
  end
  for _, name in ipairs(request and request.names or {}) do
    table.insert(names, name)
  end
end
pump(names)
return answer('reaped', digits(count))
