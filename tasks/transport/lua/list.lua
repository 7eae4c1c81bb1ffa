-- Lists the living tasks of a queue, in the order in which they will start; then running, delayed, parked ones.
--
-- KEYS[1]  root
-- ARGV[1]  queue    ARGV[2]  how many of each kind at most
-- Returns  {state, member, score or consumer, record, ...}
-- Cost     O(limit + running)
local queue, most, listed = ARGV[1], tonumber(ARGV[2]), {}

local function list(state, member, detail)
  local record = lookup(queue, member)
  if record then
    for _, part in ipairs({ state, member, detail, record }) do listed[#listed + 1] = part end
  end
end

local function list_part(part)
  local members = redis.call('ZRANGE', key(queue, part), 0, most - 1, 'WITHSCORES')
  for i = 1, #members, 2 do list(part, members[i], members[i + 1]) end
end

list_part('ready')
for _, consumer in ipairs(redis.call('ZRANGE', root .. 'leases', 0, -1)) do
  for _, holding in ipairs(holdings(consumer)) do
    if holding[2] == queue then list('running', holding[1], consumer) end
  end
end
list_part('delayed')
list_part('parked')
return listed
