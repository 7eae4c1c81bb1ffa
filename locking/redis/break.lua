-- break: ends every grant on a name, wholly, without lock delay: the operator's word.
--
-- KEYS[1]  prefix
-- ARGV[1]  name
-- Result   broken, grants, the holders (JSON)
-- O(holders * names + requests granted).

sweep()
local told, names = {}, {}
for _, id in ipairs(redis.call('HKEYS', P .. 'h:' .. ARGV[1])) do
  local request = load(id)
  if request then
    table.insert(told, describe_holder(request, ARGV[1]))
    remove(request)
    for _, name in ipairs(request.names) do
      table.insert(names, name)
    end
  end
end
pump(names)
return answer('broken', cjson.encode({ holders = told }))
