-- Forgets a member; a later incarnation of the same name stays.
--
-- KEYS     members, epoch
-- ARGV[1]  grace    ARGV[2]  name    ARGV[3]  incarnation
-- Returns  the view
-- Cost     O(members)
return run(function()
  local m = members[ARGV[2]]
  if m and m.incarnation == ARGV[3] then remove(ARGV[2]) end
end)
