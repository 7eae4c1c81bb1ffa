-- downgrade: makes all names of a holder shared, under the same fence, and lets in every sharer that waits for them, also past
-- exclusive waiters: whoever shares from now on costs those no longer than the holder itself does. Only a real change
-- opens that door, so that later sharers queue behind them as ever.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id
-- Result   granted, grants, fence, ms left, want | lost, grants, {}
-- O(names * waiters).

local function admit_sharers(names)
  local past = {}
  for _, name in ipairs(names) do
    past[name] = true
  end
  for _, name in ipairs(names) do
    for _, entry in ipairs(redis.call('ZRANGE', P .. 'q:' .. name, 0, -1)) do
      local waiter = entry:sub(17, 17) == 's' and load(entry:sub(18)) or nil
      if waiter and waiter.state == 'waiting' and grantable(waiter, past) then
        grant_waiter(waiter)
      end
    end
  end
end

sweep()
local request = load(ARGV[1])
if not alive(request) then
  return answer('lost', '{}')
end
if request.want.x and request.state == 'held' then
  rewant(request, 's')
  for _, name in ipairs(request.names) do
    redis.call('HSET', P .. 'h:' .. name, request.id, 's')
  end
  note(request.id, 'want', request.want_text)
  admit_sharers(request.names)
end
return answer_granted(request)
