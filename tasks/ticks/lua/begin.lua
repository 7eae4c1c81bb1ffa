-- Lets a run begin, under the lock of its task: a tick begins once, and covers every tick claimed before it began.
--
-- KEYS[1]  the schedule's prefix
-- KEYS[2]  redbeat's key prefix
-- ARGV     name, id of the run, slot and due time of its tick ('' for a run by hand), what to record of a run that
--          never ended: its worker died, or it was killed
-- Returns  1 when the run may go on, 0 when another run covered its tick
-- Cost     O(1)
local key, run, slot, due, died = root .. ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local known = redis.call('HMGET', key, 'definition', 'slot', 'begun', 'run', 'ended')
local now = clock()
if not known[1] then return 1 end -- no longer declared, or never was: nothing is kept of it
if known[4] == run then return 1 end -- the same question again, its answer was lost
if known[4] and not known[5] then
  redis.call('HSET', key, 'error', died, 'ended', digits(now))
  redis.call('HINCRBY', key, 'failures', 1)
end
if slot then
  if slot <= tonumber(known[3] or '0') then return 0 end
  redis.call('HSET', key, 'begun', digits(math.max(slot, tonumber(known[2] or '0'))))
end
redis.call('HSET', key, 'run', run, 'started', digits(now), 'lag', digits(due and math.max(now - due, 0) or 0))
redis.call('HDEL', key, 'ended')
return 1
