-- Shared, behind _common.lua: whether a queue takes new tasks.

-- How a queue refuses new tasks while it is quiesced: 'block' or 'reject', and for how long at most; else nil.
local function gate_of(queue, now)
  local stored = redis.call('HGET', root .. 'gates', queue)
  if not stored then return nil end
  local mode, left = nil, 0
  for _, gate in pairs(cjson.decode(stored)) do
    if tonumber(gate.closed_until) > now then
      mode = (mode == 'reject' or gate.mode == 'reject') and 'reject' or 'block'
      left = math.max(left, tonumber(gate.closed_until) - now)
    end
  end
  if not mode then redis.call('HDEL', root .. 'gates', queue) end
  return mode, left
end

-- The id of the task from which a message was sent; nil for one that no task has sent.
local function parent_in(payload)
  local readable, message = pcall(cjson.decode, payload)
  local headers = readable and type(message) == 'table' and message.headers
  local parent = type(headers) == 'table' and headers.parent_id
  return type(parent) == 'string' and parent or nil
end

-- Whoever quiesces a queue waits for its tasks, so these may be published again, and so may their children.
local function is_awaited(queue, id, payload)
  if find(id, { queue }) then return true end
  local parent = parent_in(payload)
  return parent ~= nil and find(parent, { queue }) ~= nil
end

-- The error for `count` tasks more than a queue takes, as it is bounded, else by the publisher's own bounds; nil when
-- there is room. A bound of 0 is none. What was accepted, and what comes of it, is never to be refused.
local function overflow(queue, count, most, most_parked)
  local stored = redis.call('HGET', root .. 'bounds', queue)
  if stored then
    local tasks, parked = string.match(stored, '^(%S+) (%S+)$')
    most, most_parked = tonumber(tasks) or most, tonumber(parked) or most_parked
  end
  most, most_parked = tonumber(most or '0'), tonumber(most_parked or '0')
  local held = most > 0 and redis.call('HLEN', key(queue, 'tasks')) or 0
  if most > 0 and held + count > most then
    return redis.error_reply('FULL max_queued ' .. held .. ' ' .. digits(most) .. ' ' .. queue)
  end
  held = most_parked > 0 and redis.call('ZCARD', key(queue, 'parked')) or 0
  if most_parked > 0 and held >= most_parked then
    return redis.error_reply('FULL max_parked ' .. held .. ' ' .. digits(most_parked) .. ' ' .. queue)
  end
end

local function refusal(queue, mode, left)
  return redis.error_reply('QUIESCING ' .. mode .. ' ' .. digits(left) .. ' ' .. queue)
end
