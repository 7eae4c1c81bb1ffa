-- A claimed task has taken its place among those that share an ordering key: the next of them may be claimed.
--
-- KEYS[1]  root
-- ARGV[1]  member
-- Returns  1
-- Cost     O(log N) for each of its keys
end_turn(ARGV[1])
return 1
