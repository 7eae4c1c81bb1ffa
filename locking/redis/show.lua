-- show: who holds and who waits. Writes nothing.
--
-- KEYS[1]  prefix
-- ARGV[1]  a name, or absent for all
-- Result   JSON: holders and waiters, each a list; waiters of a name in order
-- O(holders + waiters asked for).

local holders, waiters = {}, {}

local function show(name)
  for _, id in ipairs(redis.call('HKEYS', P .. 'h:' .. name)) do
    local request = load(id)
    if request and (alive(request) or request.ends + request.delay > NOW) then
      table.insert(holders, describe_holder(request, name))
    end
  end
  local position = 0
  for _, entry in ipairs(redis.call('ZRANGE', P .. 'q:' .. name, 0, -1)) do
    local request = load(entry:sub(18))
    local ends = tonumber(redis.call('ZSCORE', P .. 'times', entry:sub(18)) or 0)
    if request and ends > NOW then
      table.insert(waiters, { name, entry:sub(17, 17), request.owner, request.info, digits(request.priority),
        position, NOW - math.floor(request.arrival / 1000) })
      position = position + 1
    end
  end
end

if ARGV[1] then
  show(ARGV[1])
else
  local seen = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'times', '-inf', MARKS)) do
    for _, name in ipairs((load(id) or { names = {} }).names) do
      if not seen[name] then
        seen[name] = true
        show(name)
      end
    end
  end
end
return cjson.encode({ holders = holders, waiters = waiters })
