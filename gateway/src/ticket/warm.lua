-- Puts a ticket into Redis, in the place of what was there of it, unless that has changed since it was read.
--
-- Everything is looked at before the first write, because Redis does not undo a script that fails half-way; and the state
-- comes last: without it the ticket is not believed to be there.
--
-- KEYS  1 state  2 log  3 idem  4 events  5 dirty  6 epoch  7 ahead  8 rest  9 takeover  10 idem, staged
-- ARGV  1 ticket id   2 the epoch to begin with where Redis has none   3 ms that it stays at rest, or 0; '' where something
--       of it is not in MongoDB
--       4 5 6 7 what was read: seq of the state or '', length of the log, last id of the log or '', mark of an adoption or ''
--       8 number of sent ids that are staged, beside those below   9 number of state fields * 2, then those   then number of log entries * 2, then (seq, frame), of which the first
--       byte of the frame is its mark
--       then number of sent ids * 2, then (message id, seq)   then number of entries to persist, then those
--       then number of ranges * 2, then (first, last) of what is in MongoDB above the watermark
-- Answers 1 where it did, 0 where something has changed.

local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

if (redis.call('HGET', KEYS[1], 'seq') or '') ~= ARGV[4] then return 0 end
if (redis.call('GET', KEYS[9]) or '') ~= ARGV[7] then return 0 end
local staged = tonumber(ARGV[8])
if staged > 0 and redis.call('HLEN', KEYS[10]) ~= staged then return 0 end
if is(KEYS[2], 'stream') then
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if redis.call('XLEN', KEYS[2]) ~= tonumber(ARGV[5]) or (newest and newest[1] or '') ~= ARGV[6] then return 0 end
end
for key, kind in pairs({[4] = 'stream', [5] = 'zset', [6] = 'hash', [7] = 'zset', [8] = 'zset'}) do
  if not is(KEYS[key], kind) then
    return redis.error_reply('WRONGTYPE ' .. KEYS[key] .. ' is no ' .. kind)
  end
end

local at = 9
local function section(step, each)
  local n = tonumber(ARGV[at])
  for i = at + 1, at + n, step do each(i) end
  at = at + n + 1
  return n
end

redis.call('HSETNX', KEYS[6], 'epoch', ARGV[2])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
if staged > 0 then
  redis.call('RENAME', KEYS[10], KEYS[3])
  redis.call('PERSIST', KEYS[3])
end
local fields = {'epoch', redis.call('HGET', KEYS[6], 'epoch')}
section(1, function(i) fields[#fields + 1] = ARGV[i] end)
section(2, function(i)
  local frame = ARGV[i + 1]
  redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'k', string.sub(frame, 1, 1), 'd', string.sub(frame, 2))
end)
section(2, function(i) redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end)
section(1, function(i) redis.call('XADD', KEYS[4], '*', 'd', ARGV[i]) end)
section(2, function(i) redis.call('ZADD', KEYS[7], ARGV[i], ARGV[i] .. ':' .. ARGV[i + 1]) end)

local clock = redis.call('TIME')
local now = string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000))
if ARGV[3] == '' then
  redis.call('ZADD', KEYS[5], 'NX', now, ARGV[1])
else
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('DEL', KEYS[7])
  redis.call('ZADD', KEYS[8], now, ARGV[1])
  fields[#fields + 1], fields[#fields + 2] = 'ttl', '1'
end
redis.call('HSET', KEYS[1], unpack(fields))
if ARGV[3] ~= '' and ARGV[3] ~= '0' then
  for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
end
return 1
