-- renew: starts leases anew.
--
-- KEYS[1]  prefix
-- ARGV     request ids
-- Result   renewed, grants, the ms left of each in the order of ARGV, 0 if it is lost
-- O(requests); once an hour also O(names), to lengthen the life of the keys.

sweep()
local left = {}
for i, id in ipairs(ARGV) do
  local request = load(id)
  if alive(request) then
    extend(request, request.lease)
    if request.unconfirmed then
      note(id, 'unconfirmed', '0')
    end
    local ms = request.lease + request.delay
    if keep(P .. 'r:' .. id, ms) then
      keep(P .. 'times', ms + 3 * BACKSTOP)
      for _, name in ipairs(request.names) do
        keep(P .. 'h:' .. name, ms + BACKSTOP)
      end
    end
    left[i] = digits(request.ends - NOW)
  else
    left[i] = '0'
  end
end
return answer('renewed', unpack(left))
