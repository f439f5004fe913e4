-- Appends one entry to a ticket's log: all of it happens, or nothing.
--
-- KEYS  1 state  2 log  3 idem  4 events  5 dirty  6 epoch
-- ARGV  1 op (created, message, status, assigned)   2 ticket id   3 channel
--       4 the epoch to begin with where Redis has none
--       5 message id to look for among those sent before, or ''
--       6 expected seq, or ''   7 '1' where the caller only sees what users see
--       8 whose ticket it must be: a user's id as JSON text, or ''
--       9 the change, as JSON   10.. what the op needs (below)
-- Answers
--   {'ok', seq, prevSeq, at, epoch, frame}       appended; frame is the entry's JSON
--   {'repeat', seq, frame or false}              sent before; frame only while the log holds it
--   {'stale', state...}   {'exists', state...}   not what was expected; state as `snapshot` orders it
--   {'cold'}                                     the ticket is not in Redis
--   {'hidden'}                                   it is somebody else's
--   {'distrusted', seq, epoch}                   the ticket's state is of an earlier epoch

local op, id, channel, fresh = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known, expected, as_user, owner, change = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local s = redis.call('HMGET', KEYS[1],
  'seq', 'pub', 'persisted', 'floor', 'count', 'last', 'updatedAt', 'head', 'base', 'ttl', 'epoch', 'pubAt')
local seq, pub = tonumber(s[1]), tonumber(s[2])

local function snapshot(word)
  return {word, s[1], s[2], s[5], s[6], s[7], s[8], s[9], s[12]}
end

if op == 'created' then
  if seq then return snapshot('exists') end
  seq, pub = 0, 0
  s[3], s[4], s[5], s[7] = '0', '0', '0', '0'
elseif not seq then
  return {'cold'}
end
-- Both texts come from one JSON encoder, and a quote within a value is escaped: the name can't stand in one.
if owner ~= '' and not string.find(s[9], '"userId":' .. owner, 1, true) then return {'hidden'} end

-- The epoch holds for one line of Redis servers. A replica that took over may lack the last writes of the one
-- before, and so begins another. A server that came back under a new id with the files that it had goes on.
local e = redis.call('HMGET', KEYS[6], 'epoch', 'line')
local info = redis.call('INFO', 'replication')
local line = string.match(info, 'master_replid:(%x+)')
local epoch = e[1]
if line ~= e[2] then
  local before = string.match(info, 'master_replid2:(%x+)')
  if not epoch or (before and string.find(before, '[^0]')) then epoch = fresh end
  redis.call('HSET', KEYS[6], 'epoch', epoch, 'line', line)
end
-- In another epoch the counter goes on only above what MongoDB has.
if op ~= 'created' and s[11] ~= epoch then return {'distrusted', s[1], epoch} end

if known ~= '' then
  local first = redis.call('HGET', KEYS[3], known)
  if first then
    local found = redis.call('XRANGE', KEYS[2], first .. '-0', first .. '-0')
    return {'repeat', first, found[1] and found[1][2][4] or false}
  end
end

if expected ~= '' then
  local at = tonumber(expected)
  if at ~= seq and not (as_user == '1' and at == pub) then return snapshot('stale') end
end

-- The clock is Redis', and never runs backwards within a ticket.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if now < tonumber(s[7]) then now = tonumber(s[7]) end
local function int(n) return string.format('%.0f', n) end
local at = int(now)

local persisted, floor = tonumber(s[3]), tonumber(s[4])
local count, last, head, base = tonumber(s[5]), s[6], s[8], s[9]
local prev, extra, mark = pub, '', 'o'
local public_at = at
local clean = persisted == seq
seq = seq + 1

if op == 'message' then
  -- 10 '1' for internal   11 preview
  if ARGV[10] == '1' then
    -- States from before there was such a time go by the other one.
    mark, public_at = 'i', s[12] or s[7]
    extra = ',"pa":' .. public_at
    if last then extra = extra .. ',"l":' .. last end
  else
    mark, count, pub = 'm', count + 1, seq
    last = string.sub(ARGV[11], 1, -2) .. ',"at":' .. at .. '}'
  end
  if known ~= '' then redis.call('HSET', KEYS[3], known, seq) end
else
  pub = seq
  if op == 'created' then
    -- 10 base   11 head
    base = string.sub(ARGV[10], 1, -2) .. ',"createdAt":' .. at .. '}'
    head = ARGV[11]
  else
    local h = cjson.decode(head)
    if op == 'status' then
      -- 10 status
      extra = ',"fs":"' .. h.status .. '"'
      if ARGV[10] ~= 'closed' then h.closedAt = nil elseif h.status ~= 'closed' then h.closedAt = at end
      h.status = ARGV[10]
    else
      -- 10 agent id, or ''   11 agent name
      if h.agentId then
        extra = ',"fa":' .. cjson.encode({agentId = h.agentId, agentName = h.agentName})
      end
      h.agentId, h.agentName = nil, nil
      if ARGV[10] ~= '' then h.agentId, h.agentName = ARGV[10], ARGV[11] end
    end
    head = cjson.encode(h)
  end
  if last then extra = extra .. ',"l":' .. last end
  extra = extra .. ',"x":' .. base
end

local frame = '{"v":1,"t":"' .. id .. '","s":' .. int(seq) .. ',"p":' .. int(prev) .. ',"a":' .. at
  .. ',"e":"' .. epoch .. '","n":' .. int(count) .. ',"c":{"' .. op .. '":' .. change .. '},"h":' .. head
  .. extra .. '}'

redis.call('XADD', KEYS[4], '*', 'd', frame)
redis.call('XADD', KEYS[2], int(seq) .. '-0', 'k', mark, 'd', frame)

-- The log keeps the last 300 and everything that is not in MongoDB yet; trimmed by the dozen.
local keep = math.min(persisted, seq - 300)
if keep - floor >= 24 then
  floor = keep
  redis.call('XTRIM', KEYS[2], 'MINID', int(floor + 1) .. '-0')
end

redis.call('HSET', KEYS[1], 'seq', int(seq), 'pub', int(pub), 'persisted', int(persisted), 'floor', int(floor),
  'count', int(count), 'updatedAt', at, 'pubAt', public_at, 'head', head, 'base', base, 'epoch', epoch)
if last then redis.call('HSET', KEYS[1], 'last', last) end
if s[10] then
  -- It was on its way out of Redis; now something is unpersisted again.
  redis.call('HDEL', KEYS[1], 'ttl')
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
  redis.call('PERSIST', KEYS[3])
end
if clean then redis.call('ZADD', KEYS[5], at, id) end

redis.call('SPUBLISH', channel, 'E' .. frame)
return {'ok', int(seq), int(prev), at, epoch, frame}
