-- Renews a member's lease in several groups; a process that is no member of one stays none.
--
-- KEYS     members, epoch; a pair for each group
-- ARGV[1]  grace    ARGV[2]  name    ARGV[3]  incarnation    ARGV[4]  lease (microseconds)
-- Returns  the view of each group, in their order
-- Cost     O(members) a group
local views = {}
for first = 1, #KEYS, 2 do
  views[#views + 1] = run(function()
    local m = members[ARGV[2]]
    if not m or m.incarnation ~= ARGV[3] then return end
    m.ends = now + tonumber(ARGV[4])
    save(ARGV[2])
  end, first)
end
return views
