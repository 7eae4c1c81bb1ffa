-- Returns one dead letter.
--
-- KEYS[1]  root
-- ARGV[1]  task id
-- Returns  {queue, letter}, or nil when there is no such dead letter
-- Cost     O(queues)
for _, queue in ipairs(known_queues()) do
  local letter = redis.call('HGET', key(queue, 'dead'), ARGV[1])
  if letter then return { queue, letter } end
end
return nil
