-- upgrade: makes all names of a holder exclusive; one waiter for it a name, in front of everybody.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id
-- ARGV[2]  try, wait, or withdraw (stop waiting, keep the shared lock)
-- Result   granted, grants, fence, ms left, want | waiting or busy or conflict or lost, grants, obstacles (JSON)
-- O(names + holders).

local function another_upgrades(request)
  for _, name in ipairs(request.names) do
    local head = redis.call('ZRANGE', P .. 'q:' .. name, 0, 0, 'WITHSCORES')
    if head[1] and tonumber(head[2]) == FRONT and head[1]:sub(18) ~= request.id then
      return true
    end
  end
  return false
end

local function alone(request)
  for _, name in ipairs(request.names) do
    if is_held_against(request, name, 'x') then
      return false
    end
  end
  return true
end

local function withdraw(request)
  leave_queues(request)
  note(request.id, 'state', 'held')
  request.state = 'held'
  pump(request.names)
end

sweep()
local request = load(ARGV[1])
if not alive(request) then
  return answer('lost', '{}')
elseif not request.want.s then
  return answer_granted(request)
elseif ARGV[2] == 'withdraw' then
  local told = obstacles(request)
  if request.state == 'upgrading' then
    withdraw(request)
  end
  return answer('busy', told)
elseif request.state == 'upgrading' then
  return answer('waiting', obstacles(request))
elseif another_upgrades(request) then
  request.state = 'upgrading'
  return answer('conflict', obstacles(request))
end
request.state = 'upgrading'
if alone(request) then
  grant(request, request.lease, false)
  return answer_granted(request)
elseif ARGV[2] == 'wait' then
  place(request)
  enqueue(request)
  return answer('waiting', obstacles(request))
end
return answer('busy', obstacles(request))
