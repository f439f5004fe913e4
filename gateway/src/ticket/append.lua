-- Appends entries to tickets' logs, one after the other. All of an entry happens, or nothing of it; one that fails
-- does not stop the next. They come in groups, because much of what a call costs it costs once.
--
-- KEYS  of each run of entries  1 state  2 log  3 idem  4 events  5 dirty  6 epoch
-- ARGV  the epoch to begin with where Redis has none, then of each run
--       1 how many entries   2 ticket id   3 channel   4 '1' where the caller only sees what users see
--       5 whose ticket it must be: a user's id as JSON text, or ''
--       6 who is counted, or ''   7 how many entries a second of that one this ticket takes
--       and then of each of its entries
--       1 op (created, message, status, assigned)   2 message id to look for among those sent before, or ''
--       3 expected seq, or ''   4 the change, as JSON   5 6 what the op needs (below), or ''
-- Answers of each entry
--   {'ok', seq, at, frame}                       appended; frame is the entry's JSON, left out of a message
--   {'repeat', seq, frame or false}              sent before; frame only while the log holds it
--   {'stale', state...}   {'exists', state...}   not what was expected; state as `snapshot` orders it
--   {'cold'}                                     the ticket is not in Redis
--   {'hidden'}                                   it is somebody else's
--   {'limited', ms}                              its caller appends too fast; for how long
--   {'doubted'}                                  log and idem are not what the state claims, or it is of another epoch
--                                                or server
--   {'unsettled'}                                it would be created before it is known whether numbers continue
--   {'failed', reason}                           what Redis says, where it refuses

-- `%d` takes less than half the time of `%.0f` (155 against 360 ns); both are exact up to 2^53.
local function int(n) return string.format('%d', n) end

local clock = redis.call('TIME')
local clock_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The epoch holds for one line of Redis servers. A replica that took over may lack the last writes of the one
-- before, and so begins another. A server that came back under a new id with the files that it had goes on, but may have
-- lost the end of them: each ticket names the server under which its numbers were last compared, and is compared again
-- once it is settled that they continue (`since` is 0 then).
local info = redis.call('INFO', 'replication')
-- A plain search: a pattern takes as long as Redis takes for the text.
local _, found = string.find(info, 'master_replid:', 1, true)
local line = string.sub(info, found + 1, found + 40)
local server = string.sub(line, 1, 8)
local epochs = {}
local function epoch_of(key)
  if epochs[key] then return unpack(epochs[key]) end
  local e = redis.call('HMGET', key, 'epoch', 'line', 'since')
  local epoch, since = e[1], e[3] or '0'
  if line ~= e[2] then
    local before = string.match(info, 'master_replid2:(%x+)')
    since = e[2] and int(clock_ms) or '0'
    if not epoch or (before and string.find(before, '[^0]')) then epoch, since = ARGV[1], '0' end
    redis.call('HSET', key, 'epoch', epoch, 'line', line, 'since', since)
  end
  epochs[key] = {epoch, since == '0'}
  return epoch, since == '0'
end

-- The rate of one caller in one ticket, over all gateways: five seconds' worth at once, so that ten seconds hold at
-- most 1.5 times the rate. Takes one entry, or returns for how many ms there is no room. Only callers that use much of
-- their rate are counted. The key has the ticket's slot, and goes once everything is paid back.
local clock_us = clock[1] * 1000000 + clock[2]
local function limited(key, per_second)
  local paid_back = math.max(tonumber(redis.call('GET', key) or 0), clock_us) + 1000000 / per_second
  local ahead = paid_back - clock_us
  if ahead > 5000000 then return int(math.ceil((ahead - 5000000) / 1000)) end
  -- A server that is full says so where the entry is written.
  redis.pcall('SET', key, int(paid_back), 'PX', int(math.ceil(ahead / 1000)))
end

-- What each channel is told at the end.
local frames = {}

-- What a ticket's state holds, read once in a call. The base may be large, and is read where it is needed.
--
-- Any key may go by itself: evicted, or deleted by hand. So the state is compared with the others: the log has an entry
-- for each number above the floor, idem a field for each number but the unkeyed ones. States of former versions do not
-- say how many those are, and are not believed.
local states = {}
local function state_of(key, log, idem, with_base)
  local s = states[key]
  if not s then
    local v
    if with_base then
      v = redis.call('HMGET', key,
        'seq', 'pub', 'persisted', 'floor', 'count', 'last', 'updatedAt', 'head', 'ttl', 'epoch', 'pubAt', 'unkeyed',
        'server', 'base')
    else
      v = redis.call('HMGET', key,
        'seq', 'pub', 'persisted', 'floor', 'count', 'last', 'updatedAt', 'head', 'ttl', 'epoch', 'pubAt', 'unkeyed',
        'server')
    end
    s = {seq = tonumber(v[1]), pub = tonumber(v[2]), persisted = tonumber(v[3]), floor = tonumber(v[4]), count = v[5],
      last = v[6], updated = v[7], head = v[8], leaves = v[9], epoch = v[10], public_at = v[11],
      unkeyed = tonumber(v[12]), base = v[14]}
    if s.seq and s.floor and s.unkeyed and v[13] == server then
      s.whole = redis.pcall('XLEN', log) == s.seq - s.floor and redis.pcall('HLEN', idem) == s.seq - s.unkeyed
    end
    states[key] = s
  elseif with_base and s.base == nil then
    s.base = redis.call('HGET', key, 'base')
  end
  return s
end

-- One entry. The keys of its run come after the `k`th, what is about all of the run after the `r`th argument, and what
-- is its own after the `a`th.
local function append(k, r, a)
  local state, log, idem, events, dirty = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4], KEYS[k + 5]
  local id, channel, as_user, owner = ARGV[r + 2], ARGV[r + 3], ARGV[r + 4], ARGV[r + 5]
  local op, known, expected, change = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]

  local s = state_of(state, log, idem, op ~= 'message' or owner ~= '')
  local seq, pub, persisted, floor, updated = s.seq, s.pub, s.persisted, s.floor, s.updated
  local count, last, head, base = s.count, s.last, s.head, s.base

  local function snapshot(word)
    return {word, int(seq), int(pub), count, last, updated, head, base, s.public_at}
  end

  if op == 'created' then
    if seq then return snapshot('exists') end
    -- Only its state is gone.
    if redis.call('EXISTS', log) == 1 or redis.call('ZSCORE', dirty, id) then return {'cold'} end
    seq, pub, persisted, floor, count, updated, s.unkeyed = 0, 0, 0, 0, '0', '0', 0
  elseif not seq then
    return {'cold'}
  end
  -- Both texts come from one JSON encoder, and a quote within a value is escaped: the name can't stand in one.
  if owner ~= '' and not string.find(base, '"userId":' .. owner, 1, true) then return {'hidden'} end

  -- In another epoch the counter goes on only above what MongoDB has.
  local epoch, settled = epoch_of(KEYS[k + 6])
  if op == 'created' then
    if not settled then return {'unsettled'} end
  elseif not (s.whole and s.epoch == epoch) then
    return {'doubted'}
  end

  if expected ~= '' then
    -- A user's position is that of what users see: the other one would tell of internal messages.
    if tonumber(expected) ~= (as_user == '1' and pub or seq) then return snapshot('stale') end
  end

  if ARGV[r + 6] ~= '' then
    local wait = limited(state .. ':rate:' .. ARGV[r + 6], tonumber(ARGV[r + 7]))
    if wait then return {'limited', wait} end
  end

  -- Time never runs backwards within a ticket.
  local at = int(math.max(clock_ms, tonumber(updated)))

  local prev, extra, mark = pub, '', 'o'
  local public_at = at
  local clean = persisted == seq
  seq = seq + 1
  local number = int(seq)

  if known ~= '' then
    -- The first of all writes: a server that is full refuses it, and a repeat is answered all the same.
    local new = redis.pcall('HSETNX', idem, known, number)
    if new ~= 1 then
      local first = redis.call('HGET', idem, known)
      if not first then error(new) end
      local found = redis.call('XRANGE', log, first .. '-0', first .. '-0')
      return {'repeat', first, found[1] and found[1][2][4] or false}
    end
  end

  if op == 'message' then
    -- 5 '1' for internal   6 preview
    if ARGV[a + 5] == '1' then
      -- States from before there was such a time go by the other one.
      mark, public_at = 'i', s.public_at or updated
      extra = ',"pa":' .. public_at
      if last then extra = extra .. ',"l":' .. last end
    else
      mark, count, pub = 'm', int(count + 1), seq
      last = string.sub(ARGV[a + 6], 1, -2) .. ',"at":' .. at .. '}'
    end
  else
    pub = seq
    if op == 'created' then
      -- 5 base   6 head
      base = string.sub(ARGV[a + 5], 1, -2) .. ',"createdAt":' .. at .. '}'
      head = ARGV[a + 6]
    else
      local h = cjson.decode(head)
      if op == 'status' then
        -- 5 status
        local to = ARGV[a + 5]
        extra = ',"fs":"' .. h.status .. '"'
        if to ~= 'closed' then h.closedAt = nil elseif h.status ~= 'closed' then h.closedAt = at end
        h.status = to
      else
        -- 5 agent id, or ''   6 agent name
        if h.agentId then
          extra = ',"fa":' .. cjson.encode({agentId = h.agentId, agentName = h.agentName})
        end
        h.agentId, h.agentName = nil, nil
        if ARGV[a + 5] ~= '' then h.agentId, h.agentName = ARGV[a + 5], ARGV[a + 6] end
      end
      head = cjson.encode(h)
    end
    if last then extra = extra .. ',"l":' .. last end
    extra = extra .. ',"x":' .. base
  end

  local frame = '{"v":1,"t":"' .. id .. '","s":' .. number .. ',"p":' .. int(prev) .. ',"a":' .. at
    .. ',"e":"' .. epoch .. '","n":' .. count .. ',"c":{"' .. op .. '":' .. change .. '},"h":' .. head
    .. extra .. '}'

  redis.call('XADD', log, number .. '-0', 'k', mark, 'd', frame)
  redis.call('XADD', events, '*', 'd', frame)

  -- The log keeps the last 300 and everything that is not in MongoDB yet; trimmed by the dozen.
  local keep = math.min(persisted, seq - 300)
  if keep - floor >= 24 then
    redis.call('XTRIM', log, 'MINID', int(keep + 1) .. '-0')
    floor, s.trimmed = keep, true
  end

  -- Written at the end of the call, once for all entries of a ticket.
  s.seq, s.pub, s.persisted, s.floor, s.updated = seq, pub, persisted, floor, at
  s.count, s.last, s.head, s.base, s.epoch, s.public_at = count, last, head, base, epoch, public_at
  s.written = true
  if mark ~= 'i' then s.public = true end
  if mark == 'm' then s.said = true end
  if mark == 'o' then s.headed = true end
  if known == '' then s.unkeyed, s.kept = s.unkeyed + 1, true end
  if op == 'created' then s.created, s.whole = true, true end
  if s.leaves then
    -- It was on its way out of Redis; now something is unpersisted again.
    redis.call('HDEL', state, 'ttl')
    redis.call('PERSIST', state)
    redis.call('PERSIST', log)
    redis.call('PERSIST', idem)
    s.leaves = false
  end
  if clean then redis.call('ZADD', dirty, at, id) end
  -- For counts.
  if op ~= 'message' then redis.call('INCR', dirty .. ':changes') end
  if op == 'created' then
    -- For lists, until the worker has it in MongoDB.
    redis.call('ZADD', dirty .. ':created', at, id)
    local user = cjson.decode(base).userId
    if type(user) == 'string' then redis.call('ZADD', dirty .. ':created:' .. user, at, id) end
  end

  local told = frames[channel]
  if told then told[#told + 1] = frame else frames[channel] = {frame} end
  return {'ok', number, at, op ~= 'message' and frame or ''}
end

local answers, k, r = {}, 0, 1
while k < #KEYS do
  local a = r + 7
  for _ = 1, tonumber(ARGV[r + 1]) do
    local done, answer = pcall(append, k, r, a)
    if not done then
      local reason = type(answer) == 'table' and answer.err or tostring(answer)
      -- A replica writes nothing. As the error of the whole call this ends the connection, and the next one leads to the
      -- primary.
      if string.find(reason, '^READONLY') or string.find(reason, '^MASTERDOWN') then error({err = reason}) end
      answer = {'failed', reason}
    end
    answers[#answers + 1] = answer
    a = a + 6
  end
  k, r = k + 6, a
end

-- Only what has changed: Redis writes every field to its own log, too.
for key, s in pairs(states) do
  if s.written then
    local fields = {'seq', int(s.seq), 'updatedAt', s.updated, 'pubAt', s.public_at}
    local function set(name, value)
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    if s.public then set('pub', int(s.pub)) end
    if s.said or s.created then set('count', s.count) end
    if s.said then set('last', s.last) end
    if s.headed then set('head', s.head) end
    if s.kept then set('unkeyed', int(s.unkeyed)) end
    if s.trimmed or s.created then set('floor', int(s.floor)) end
    if s.created then
      set('persisted', '0')
      set('base', s.base)
      set('epoch', s.epoch)
      set('server', server)
    end
    redis.call('HSET', key, unpack(fields))
  end
end
for channel, told in pairs(frames) do
  redis.call('SPUBLISH', channel, 'E' .. table.concat(told, '\nE'))
end
return answers
