-- Reads everything that Redis still has of a ticket, for warming it.
--
-- KEYS  1 state  2 log  3 idem  4 dirty  5 epoch  6 takeover  7 dead
-- ARGV  1 ticket id   2 '1' for the log in any case, else only where not all of it fits together
-- Answers 0 where all of it is there, fits together and was compared under this server, if that was met before, else
--   {state, '1' where it is dirty, length of the log, last id of the log or '', {frame...}, server or '',
--    the epoch where the state is of it and fits, or '', the mark of an adoption or '',
--    {frame of each parked entry, only if the state is nil...}}
-- where the state is nil, or {seq, pub, persisted, floor, adopted, count, last, updatedAt, head, base, pubAt}, and the
-- server '' until it is settled whether numbers continue under it.

local s = redis.call('HMGET', KEYS[1],
  'seq', 'pub', 'persisted', 'floor', 'adopted', 'count', 'last', 'updatedAt', 'head', 'base', 'pubAt', 'unkeyed', 'epoch',
  'server')
local unkeyed, epoch, compared = s[12], s[13], s[14]
s[12], s[13], s[14] = nil, nil, nil

local info = redis.call('INFO', 'replication')
local _, found = string.find(info, 'master_replid:', 1, true)
local line = string.sub(info, found + 1, found + 40)
local server = string.sub(line, 1, 8)
local e = redis.call('HMGET', KEYS[5], 'epoch', 'line', 'since')

local length, sent = redis.pcall('XLEN', KEYS[2]), redis.pcall('HLEN', KEYS[3])
local fits = s[1] and s[4] and unkeyed and length == s[1] - s[4] and sent == s[1] - unkeyed and epoch == e[1]
if fits and (compared == server or (e[2] and e[2] ~= line)) then return 0 end

if (e[2] and e[2] ~= line) or (e[3] or '0') ~= '0' then server = '' end

local dirty = redis.call('ZSCORE', KEYS[4], ARGV[1]) and '1' or '0'
local frames, last = {}, ''
-- Of another type it is nothing of ours.
if type(length) == 'number' and (not fits or ARGV[2] == '1') then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
    last = entry[1]
    frames[#frames + 1] = entry[2][4] or ''
  end
elseif type(length) ~= 'number' then
  length = 0
end

-- Their numbers are in no other key, and MongoDB has none of them. The newest will do.
local parked = {}
if not s[1] and redis.pcall('EXISTS', KEYS[7]) == 1 then
  local own = '"t":"' .. ARGV[1] .. '"'
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[7], '+', '-', 'COUNT', 10000)) do
    -- After reason, tries, id and time.
    local frame = entry[2][10]
    if frame and string.find(frame, own, 1, true) then parked[#parked + 1] = frame end
  end
end
local takeover = redis.call('GET', KEYS[6]) or ''
return {s[1] and s or false, dirty, length, last, frames, server, fits and epoch or '', takeover, parked}
