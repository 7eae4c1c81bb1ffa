-- Tells which tasks of a queue still live.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2+] task ids
-- Returns  1 or 0 for each id
-- Cost     O(ids)
local answers = {}
for i = 2, #ARGV do answers[#answers + 1] = redis.call('HEXISTS', key(ARGV[1], 'tasks'), ARGV[i]) end
return answers
