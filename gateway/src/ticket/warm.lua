-- Puts a ticket that MongoDB has back into Redis, unless somebody was faster.
--
-- KEYS  1 state  2 log  3 idem  4 events  5 dirty  6 epoch  7 rest
-- ARGV  1 ticket id   2 the epoch to begin with where Redis has none   3 ms that it stays at rest, or 0
--       4 number of state fields * 2, then those   then number of log entries * 3, then (seq, mark, frame)
--       then number of sent ids * 2, then (message id, seq)   then number of entries to persist, then those
-- Answers 1 where it did, 0 where the ticket was there already.

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSETNX', KEYS[6], 'epoch', ARGV[2])
-- Leftovers of a state that was evicted by hand would mix with what comes now.
redis.call('DEL', KEYS[2], KEYS[3])

local at = 4
local function section(step, each)
  local n = tonumber(ARGV[at])
  for i = at + 1, at + n, step do each(i) end
  at = at + n + 1
  return n
end

redis.call('HSET', KEYS[1], 'epoch', redis.call('HGET', KEYS[6], 'epoch'))
section(2, function(i) redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end)
section(3, function(i) redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'k', ARGV[i + 1], 'd', ARGV[i + 2]) end)
section(2, function(i) redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end)
local owed = section(1, function(i) redis.call('XADD', KEYS[4], '*', 'd', ARGV[i]) end)

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
if owed > 0 then
  redis.call('ZADD', KEYS[5], now, ARGV[1])
else
  redis.call('HSET', KEYS[1], 'ttl', '1')
  redis.call('ZADD', KEYS[7], now, ARGV[1])
  if ARGV[3] ~= '0' then
    for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
  end
end
return 1
