-- Reads a ticket's state and a part of its live log as one moment.
--
-- KEYS  1 state  2 log  3 epoch  4 dirty
-- ARGV  1 '+' oldest first, '-' newest first   2 lowest seq   3 highest seq, or '+'
--       4 how many entries at most   5 which: 'all', 'messages', 'public' (messages that a user may see)
--       6 ticket id
-- Answers nil where the ticket is not in Redis, 0 where a part of it is missing, else
--   {seq, pub, persisted, floor, adopted, count, last, updatedAt, head, base, pubAt, epoch, {frame...}}
-- where the log holds every entry above `floor`: one for each number.

local s = redis.call('HMGET', KEYS[1],
  'seq', 'pub', 'persisted', 'floor', 'adopted', 'count', 'last', 'updatedAt', 'head', 'base', 'pubAt')
if not s[1] then
  -- Only its state is gone.
  if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('ZSCORE', KEYS[4], ARGV[6]) then return 0 end
  return false
end
if ARGV[4] ~= '0' and redis.pcall('XLEN', KEYS[2]) ~= s[1] - (s[4] or 0) then return 0 end
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
