-- Reads everything that Redis still has of a ticket, for warming it.
--
-- KEYS  1 state  2 log  3 idem  4 dirty  5 epoch
-- ARGV  1 ticket id
-- Answers 0 where all of it is there and fits together, else
--   {state, '1' where it is dirty, length of the log, last id of the log or '', {frame...}}
-- where the state is nil, or {seq, pub, persisted, floor, adopted, count, last, updatedAt, head, base, pubAt}

local s = redis.call('HMGET', KEYS[1],
  'seq', 'pub', 'persisted', 'floor', 'adopted', 'count', 'last', 'updatedAt', 'head', 'base', 'pubAt', 'unkeyed', 'epoch')
local unkeyed, epoch = s[12], s[13]
s[13] = nil

local length, sent = redis.pcall('XLEN', KEYS[2]), redis.pcall('HLEN', KEYS[3])
if s[1] and s[4] and unkeyed and length == s[1] - s[4] and sent == s[1] - unkeyed
  and epoch == redis.call('HGET', KEYS[5], 'epoch') then
  return 0
end

s[12] = nil
local dirty = redis.call('ZSCORE', KEYS[4], ARGV[1]) and '1' or '0'
local frames, last = {}, ''
-- Of another type it is nothing of ours.
if type(length) == 'number' then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
    last = entry[1]
    frames[#frames + 1] = entry[2][4] or ''
  end
else
  length = 0
end
return {s[1] and s or false, dirty, length, last, frames}
