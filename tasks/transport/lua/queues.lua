-- Returns the names of all queues, sorted.
--
-- KEYS[1]  root
-- Returns  {queue, ...}
-- Cost     O(N log N)
return known_queues()
