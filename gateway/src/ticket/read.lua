-- Reads a ticket's state and a part of its live log as one moment.
--
-- KEYS  1 state  2 log  3 epoch
-- ARGV  1 '+' oldest first, '-' newest first   2 lowest seq   3 highest seq, or '+'
--       4 how many entries at most   5 which: 'all', 'messages', 'public' (messages that a user may see)
-- Answers nil where the ticket is not in Redis, else
--   {seq, pub, persisted, floor, adopted, count, last, updatedAt, head, base, pubAt, epoch, {frame...}}
-- where the log holds every entry above `floor`.

local s = redis.call('HMGET', KEYS[1],
  'seq', 'pub', 'persisted', 'floor', 'adopted', 'count', 'last', 'updatedAt', 'head', 'base', 'pubAt')
if not s[1] then return false end
s[12] = redis.call('HGET', KEYS[3], 'epoch')

local forward = ARGV[1] == '+'
local low, high = ARGV[2] .. '-0', ARGV[3] == '+' and '+' or ARGV[3] .. '-0'
local limit, which = tonumber(ARGV[4]), ARGV[5]
local frames = {}
local function wanted(mark)
  return which == 'all' or mark == 'm' or (mark == 'i' and which == 'messages')
end

-- In pieces, because what is not wanted does not count towards the limit.
while #frames < limit do
  local piece = math.max(limit - #frames, 16)
  local found
  if forward then
    found = redis.call('XRANGE', KEYS[2], low, high, 'COUNT', piece)
  else
    found = redis.call('XREVRANGE', KEYS[2], high, low, 'COUNT', piece)
  end
  for _, entry in ipairs(found) do
    if #frames < limit and wanted(entry[2][2]) then frames[#frames + 1] = entry[2][4] end
  end
  if #found < piece then break end
  local edge = '(' .. found[#found][1]
  if forward then low = edge else high = edge end
end
s[13] = frames
return s
