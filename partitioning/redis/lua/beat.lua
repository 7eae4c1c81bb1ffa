-- Renews a member's lease; a process that is no member stays none.
--
-- KEYS     members, epoch
-- ARGV[1]  grace    ARGV[2]  name    ARGV[3]  incarnation    ARGV[4]  lease (microseconds)
-- Returns  the view
-- Cost     O(members)
return run(function()
  local m = members[ARGV[2]]
  if not m or m.incarnation ~= ARGV[3] then return end
  m.ends = now + tonumber(ARGV[4])
  save(ARGV[2])
end)
