-- Takes a member out of the ring, or lets it back in; it stays a member.
--
-- KEYS     members, epoch
-- ARGV[1]  grace    ARGV[2]  name    ARGV[3]  incarnation    ARGV[4]  '1': drain, '0': back in
-- Returns  the view
-- Cost     O(members)
return run(function()
  local m = members[ARGV[2]]
  if not m or m.incarnation ~= ARGV[3] then return end
  if ARGV[4] == '1' then
    m.standing = 'draining'
  elseif m.standing == 'draining' then
    m.standing = 'waiting'
  end
  save(ARGV[2])
end)
