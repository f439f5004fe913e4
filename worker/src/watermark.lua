#!lua flags=allow-oom
-- Notes which of a ticket's entries are in MongoDB. Allowed when Redis is out of memory: nothing is freed
-- before the worker may say what it has persisted.
--
-- `persisted` is the highest number such that it and everything below it is in MongoDB. It never falls.
-- What is persisted while something below it is not waits in `ahead`, scored by its first number.
--
-- KEYS  1 state  2 ahead  3 log  4 idem  5 dirty  6 rest
-- ARGV  1 ticket id   2 ms that a ticket at rest stays, or 0   3.. pairs of numbers, first and last, ascending
-- Answers the watermark, or nothing where the ticket is not in Redis.

local s = redis.call('HMGET', KEYS[1], 'seq', 'persisted')
if not s[1] then return false end
local seq, before = tonumber(s[1]), tonumber(s[2] or '0')
local persisted = before

local function int(n) return string.format('%d', n) end

local waiting = redis.call('EXISTS', KEYS[2]) == 1
for i = 3, #ARGV, 2 do
  local lo, hi = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  if lo <= persisted + 1 then
    if hi > persisted then persisted = hi end
  else
    redis.call('ZADD', KEYS[2], int(lo), int(lo) .. ':' .. int(hi))
    waiting = true
  end
end

while waiting do
  local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not first then break end
  local lo, hi = string.match(first, '^(%d+):(%d+)$')
  if tonumber(lo) > persisted + 1 then break end
  if tonumber(hi) > persisted then persisted = tonumber(hi) end
  redis.call('ZREM', KEYS[2], first)
end

if persisted > before then redis.call('HSET', KEYS[1], 'persisted', int(persisted)) end

if before == 0 and persisted > 0 then
  -- Lists find it in MongoDB from now on.
  redis.call('ZREM', KEYS[5] .. ':created', ARGV[1])
  local base = redis.call('HGET', KEYS[1], 'base')
  local user = base and cjson.decode(base).userId
  if type(user) == 'string' then redis.call('ZREM', KEYS[5] .. ':created:' .. user, ARGV[1]) end
end

local clock = redis.call('TIME')
local now = int(clock[1] * 1000 + math.floor(clock[2] / 1000))
if persisted < seq then
  -- The set may have been deleted or evicted.
  redis.call('ZADD', KEYS[5], 'NX', now, ARGV[1])
else
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'ttl', '1')
  redis.call('ZADD', KEYS[6], now, ARGV[1])
  if ARGV[2] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    redis.call('PEXPIRE', KEYS[3], ARGV[2])
    redis.call('PEXPIRE', KEYS[4], ARGV[2])
  end
end
return int(persisted)
