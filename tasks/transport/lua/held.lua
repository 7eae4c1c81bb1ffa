-- Lists what a consumer was given and has not settled, in order of arrival.
--
-- KEYS[1]  root
-- ARGV[1]  consumer
-- Returns  {queue, member, record, ...}
-- Cost     O(held)
local listed = {}
for _, holding in ipairs(holdings(ARGV[1])) do
  local record = lookup(holding[2], holding[1])
  if record then
    for _, part in ipairs({ holding[2], holding[1], record }) do listed[#listed + 1] = part end
  end
end
return listed
