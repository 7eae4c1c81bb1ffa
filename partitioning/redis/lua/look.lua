-- Reads a group.
--
-- KEYS     members, epoch
-- ARGV[1]  grace
-- Returns  the view
-- Cost     O(members)
return run(function() end)
