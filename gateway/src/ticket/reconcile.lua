-- Lets a ticket's counter go on in a new epoch, above what MongoDB has.
--
-- A replica that took over may lack numbers that were given out, persisted and seen. They are not given again:
-- the state moves to MongoDB's, and the messages between go into the log, so that it has no hole.
--
-- KEYS  1 state  2 log  3 ahead  4 idem
-- ARGV  1 the epoch that holds now   2 the seq that the state had when MongoDB was asked   3 MongoDB's
--       4 number of state fields * 2, then those   then number of log entries * 3, then (seq, mark, frame)
--       then number of sent ids * 2, then (message id, seq)
-- Answers 1 where it did, 0 where the ticket has moved on.

if redis.call('HGET', KEYS[1], 'seq') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
local seq, stored = tonumber(ARGV[2]), tonumber(ARGV[3])
if stored <= seq then return 1 end

local at = 4
local function section(step, each)
  local n = tonumber(ARGV[at])
  for i = at + 1, at + n, step do each(i) end
  at = at + n + 1
end
section(2, function(i) redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end)
section(3, function(i) redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'k', ARGV[i + 1], 'd', ARGV[i + 2]) end)
section(2, function(i) redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end)
-- For the watermark: these are in MongoDB, whatever is still owed below them.
local low = string.format('%.0f', seq + 1)
redis.call('ZADD', KEYS[3], low, low .. ':' .. ARGV[3])
return 1
