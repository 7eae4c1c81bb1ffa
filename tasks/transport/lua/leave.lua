-- A consumer says goodbye: what it still holds returns at once, without counting as a redelivery.
--
-- KEYS[1]  root
-- ARGV[1]  consumer
-- Returns  the number of tasks returned
-- Cost     O(held * log N + queues)
local consumer, now = ARGV[1], clock()
forget_consumer(consumer) -- first, so that none of them is offered to the one who leaves
local held = dispossess(consumer)
for _, holding in ipairs(held) do put_back(holding[2], holding[1], nil, '', consumer, now) end
return #held
