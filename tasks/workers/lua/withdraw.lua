-- Forgets a worker that ends; a later start of the same name stays, and so does the wish to drain it.
--
-- KEYS[1]  root of every key name, see sign.lua
-- ARGV[1]  name    ARGV[2]  incarnation
-- Returns  1 when it was forgotten
-- Cost     O(log workers)
local root, name = KEYS[1], ARGV[1]
local report = redis.call('GET', root .. 'record:' .. name)
if report and cjson.decode(report).incarnation ~= ARGV[2] then return 0 end
redis.call('HDEL', root .. 'stops', name)
redis.call('DEL', root .. 'record:' .. name)
return redis.call('ZREM', root .. 'seen', name)
