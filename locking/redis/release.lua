-- release: forgets a request, whatever it is, and grants what that sets free. A second time it finds nothing.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id
-- Result   granted (it held a lock that was still good) or lost, grants
-- O(names + requests granted).

sweep()
local request = load(ARGV[1])
local held = alive(request)
if request then
  remove(request)
  pump(request.names)
end
return answer(held and 'granted' or 'lost')
