-- Reads everything that is known of the workers.
--
-- KEYS[1]  root of every key name, see sign.lua
-- Returns  {name, report or '', seconds since the last one or '', '1' when to be drained or '',
--           incarnation that is to stop or '', ...}, sorted by name
-- Cost     O(workers)
local root, known, answer = KEYS[1], {}, {}
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
for _, name in ipairs(redis.call('ZRANGE', root .. 'seen', 0, -1)) do known[name] = true end
for _, name in ipairs(redis.call('SMEMBERS', root .. 'drains')) do known[name] = true end
local names = {}
for name in pairs(known) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
  local seen = redis.call('ZSCORE', root .. 'seen', name)
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('GET', root .. 'record:' .. name) or ''
  answer[#answer + 1] = seen and string.format('%.6f', (now - tonumber(seen)) / 1000000) or ''
  answer[#answer + 1] = redis.call('SISMEMBER', root .. 'drains', name) == 1 and '1' or ''
  answer[#answer + 1] = redis.call('HGET', root .. 'stops', name) or ''
end
return answer
