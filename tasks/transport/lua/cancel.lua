-- Removes a waiting task; a running one is flagged instead, until it ends.
--
-- KEYS[1]  root
-- ARGV[1]  task id    ARGV[2]  'ready': only if it is ready to start, else leave it alone
-- Returns  'ready', 'delayed', 'parked' (where it waited), 'running', or nil when there is no such task
-- Cost     O(queues + log N)
local queue, member = find(ARGV[1], known_queues())
if not queue then return nil end
if ARGV[2] == 'ready' and not redis.call('ZSCORE', key(queue, 'ready'), member) then return nil end
local part = take_out(queue, member)
if part then
  finish(queue, member)
  end_turn(member)
  return part
end
redis.call('SADD', root .. 'cancelled', ARGV[1])
return 'running'
