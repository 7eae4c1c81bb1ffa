-- Returns one dead letter.
--
-- KEYS[1]  root
-- ARGV[1]  task id
-- Returns  {queue, letter}, or nil when there is no such dead letter
-- Cost     O(queues)
local queue, letter = find_letter(ARGV[1])
return queue and { queue, letter }
