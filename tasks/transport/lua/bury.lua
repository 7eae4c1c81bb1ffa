-- Makes a task that a consumer holds a dead letter.
--
-- KEYS[1]  root
-- ARGV[1]  consumer    ARGV[2]  reason    ARGV[3]  member    ARGV[4]  receipt
-- Returns  {queue, id, worker, reason} when it was buried, {} when the consumer does not hold it (any more)
-- Cost     O(1)
local consumer, member = ARGV[1], ARGV[3]
local queue = let_go(consumer, member, ARGV[4])
local record, task
if queue then record, task = lookup(queue, member) end
if not record then return {} end
bury(queue, member, record, task, ARGV[2], consumer, clock())
return { queue, string.sub(member, 17), consumer, ARGV[2] }
