-- acquire: asks for locks, asks again as a waiter, or confirms a grant, all under one request id.
--
-- KEYS[1]  prefix
-- ARGV[1]  request id
-- ARGV[2]  how, JSON: session, info (text), lease, delay, hold, wait, priority, ageing (us a level, absent: strict),
--          mailbox, patience, provisional, some (take what is free, but this many), arrived (us, text); times in ms
-- ARGV[3]  mode -> names, JSON
-- ARGV[4]  owner
-- ARGV[5]  ms that a grant lives: the lease, or max_hold where that is less
-- ARGV[6]  ms of lock delay
-- ARGV[7]  ms that the keys of a grant live; longer than the grant, as a backstop
-- ARGV[8]  ticket: the id under which the request waits with nobody in it, empty for one that somebody waits for
-- Result   granted, grants, fence, ms left, want (empty: all as asked for) | waiting or busy or held or lost, grants, obstacles (JSON)
-- O(names * log(waiters)); a refusal also O(holders in the way).

sweep()

-- Whether nobody holds the names and nobody waits for them: one look, however many names.
local function untouched(request)
  local all = keys('h:', request.names)
  for _, key in ipairs(keys('q:', request.names)) do
    table.insert(all, key)
  end
  return call_with('EXISTS', nil, all) == 0
end

-- Reduces a request to the names that are free.
local function take_some(request)
  local want, count = {}, 0
  for _, name in ipairs(request.names) do
    if free(request, name) then
      local mode = request.modes[name]
      want[mode] = want[mode] or {}
      table.insert(want[mode], name)
      count = count + 1
    end
  end
  if count < request.some then
    return false
  end
  request.want, request.want_text = want, cjson.encode(want)
  spread(request)
  return true
end

local function holds_one(request)
  for _, name in ipairs(request.names) do
    for _, id in ipairs(redis.call('HKEYS', P .. 'h:' .. name)) do
      local holder = load(id)
      local fetched = holder and not (holder.unconfirmed and holder.mailbox == '')
      if fetched and holder.owner == request.owner and holder.session == request.session then
        return true
      end
    end
  end
  return false
end

-- Puts what was granted to a ticket under the id, the owner and the lease of whoever comes for it.
local function fetch(ticket, request)
  for _, name in ipairs(ticket.names) do
    redis.call('HDEL', P .. 'h:' .. name, ticket.id)
    redis.call('HSET', P .. 'h:' .. name, request.id, ticket.modes[name])
  end
  loaded[ticket.id] = nil
  redis.call('RENAME', P .. 'r:' .. ticket.id, P .. 'r:' .. request.id)
  note(request.id, 'doc', request.doc, 'owner', request.owner, 'unconfirmed', '0')
  redis.call('ZREM', P .. 'times', ticket.id)
  request.fence, request.since, request.want_text = ticket.fence, ticket.since, ticket.want_text
  extend(request, request.lease)
  outlive(request, request.lease + request.delay)
  return answer_granted(request)
end

-- Somebody comes with a ticket that waits, was granted, or missed its grant.
local function come_back(ticket, request)
  if ticket.state == 'silent' then
    ticket.state = 'waiting'
    if grantable(ticket) then
      remove(ticket)
      grant(request, request.lease, false)
      return answer_granted(request)
    end
    enqueue(ticket)
  end
  if ticket.state == 'waiting' then
    be_patient(ticket)
    return answer('waiting', obstacles(ticket))
  end
  return fetch(ticket, request)
end

local function ask_again(request)
  local missed = request.state == 'silent'
  if missed then
    request.state = 'waiting'
    if grantable(request) then
      grant(request, request.lease, false)
      return answer_granted(request)
    end
    enqueue(request)
  end
  if request.state == 'waiting' then
    be_patient(request)
    return answer('waiting', obstacles(request, missed))
  elseif request.unconfirmed then
    note(request.id, 'unconfirmed', '0')
    extend(request, request.lease)
  elseif not alive(request) then
    return answer('lost', obstacles(request))
  end
  return answer_granted(request)
end

local function ask(request)
  if not untouched(request) then
    place(request)
    if request.some and not take_some(request) then
      return answer('busy', obstacles(request))
    elseif not request.some and not grantable(request) then
      if holds_one(request) then
        return answer('held', obstacles(request))
      elseif not request.wait then
        return answer('busy', obstacles(request))
      end
      request.state, request.id = 'waiting', ARGV[8] ~= '' and ARGV[8] or request.id
      enqueue(request)
      be_patient(request)
      return answer('waiting', obstacles(request))
    end
  end
  grant(request, request.lease, false)
  return answer_granted(request)
end

local known = load(ARGV[1])
if known then
  return ask_again(known)
end
local request = cjson.decode(ARGV[2])
request.id, request.owner, request.state = ARGV[1], ARGV[4], 'new'
request.doc, request.want_text, request.want = ARGV[2], ARGV[3], cjson.decode(ARGV[3])
spread(request)
local ticket = ARGV[8] ~= '' and load(ARGV[8])
return ticket and come_back(ticket, request) or ask(request)
