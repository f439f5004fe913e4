-- What of a ticket has vanished from the stream before it was persisted, and what its log has of that.
--
-- KEYS  1 state  2 log  3 ahead  4 idem
-- ARGV  1 ms: what was appended before is no more in the stream   2 how many entries to answer with at most
-- Answers
--   {'clean'}                                                  all of it is persisted
--   {'waits'}                                                  something of it may be in the stream
--   {'vanished', persisted, upto, adopted, seq, {range...}, {seq, frame, ...}}
--       what is above `persisted`, up to `upto` and in none of the ranges has vanished
--   {'orphan', {frame...}, {message id, seq, ...}}             its state is gone; the log, and what was sent

local s = redis.call('HMGET', KEYS[1], 'seq', 'persisted', 'adopted', 'updatedAt')
local before, most = tonumber(ARGV[1]), tonumber(ARGV[2])

if not s[1] then
  local frames = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', most)) do
    frames[#frames + 1] = entry[2][4]
  end
  return {'orphan', frames, redis.call('HGETALL', KEYS[4])}
end

local seq, persisted = tonumber(s[1]), tonumber(s[2] or '0')
if persisted >= seq then return {'clean'} end

local ahead = redis.call('ZRANGE', KEYS[3], 0, -1)
local low = string.format('%d', persisted + 1)
local found, upto, whole = {}, persisted, true
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], low .. '-0', '+', 'COUNT', most)) do
  local frame = entry[2][4] or ''
  local at = tonumber(string.match(frame, '"a":(%d+)') or '0')
  if at >= before then
    whole = false
    break
  end
  upto = tonumber(string.match(entry[1], '^%d+'))
  found[#found + 1] = string.format('%d', upto)
  found[#found + 1] = frame
end
-- Numbers that the log does not have were given out before the ticket last changed.
if whole and #found < 2 * most and tonumber(s[4] or '0') < before then upto = seq end
if upto == persisted then return {'waits'} end
return {'vanished', s[2] or '0', string.format('%d', upto), s[3] or '0', s[1], ahead, found}
