-- Makes a process a member. Sent again it only renews.
--
-- KEYS     members, epoch
-- ARGV[1]  grace            ARGV[2]  name         ARGV[3]  incarnation    ARGV[4]  weight
-- ARGV[5]  lease and        ARGV[6]  hold-down (microseconds)
-- ARGV[7]  '1': a living member of the same name and another incarnation gives way; '0': it stays
-- Returns  the view
-- Cost     O(members)
local name, incarnation = ARGV[2], ARGV[3]
return run(function()
  local m = members[name]
  if m and m.incarnation ~= incarnation and ARGV[7] ~= '1' then return end
  if not m then
    m = { joined = now, due = now + tonumber(ARGV[6]), standing = 'waiting' }
  elseif m.incarnation ~= incarnation then
    m.joined = now
  end
  m.incarnation, m.weight, m.ends = incarnation, ARGV[4], now + tonumber(ARGV[5])
  members[name] = m
  save(name)
end)
