-- Parks tasks that a consumer holds: each gives back its slot and waits, arrival kept, until it is unparked.
--
-- KEYS[1]  root
-- ARGV[1]  consumer
-- ARGV[2+] member and receipt of each task
-- Returns  the number of tasks that it held
-- Cost     O(log N) a task
local consumer, now, count = ARGV[1], clock(), 0
for i = 2, #ARGV, 2 do
  local queue = let_go(consumer, ARGV[i], ARGV[i + 1])
  if queue then
    park(queue, ARGV[i], now)
    count = count + 1
  end
end
return count
