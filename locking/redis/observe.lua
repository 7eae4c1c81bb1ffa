-- observe: the fence of the last exclusive grant of each name, 0 if there was none within the hour. Writes nothing.
--
-- KEYS[1]  prefix
-- ARGV     names
-- Result   fences in the order of ARGV, a line each
-- O(names * log(names granted within the hour)).

local fences = {}
for i, name in ipairs(ARGV) do
  fences[i] = digits(tonumber(redis.call('ZSCORE', P .. 'times', '\0' .. name) or 0))
end
return table.concat(fences, '\n')
