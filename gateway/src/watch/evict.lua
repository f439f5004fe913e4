#!lua flags=allow-oom
-- Takes tickets at rest out of Redis: everything of them is in MongoDB. Allowed when Redis is out of memory.
--
-- KEYS  1 rest   then of each ticket  1 state  2 log  3 idem  4 ahead  5 here
-- ARGV  1 '1' where a ticket with participants stays   2 ms since its last change for which one with participants stays
--       in any case   then the tickets' ids
-- Answers {removed, kept because of participants}. Those that are not at rest only leave the index: the worker puts
-- them back once they are.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local removed, kept = 0, 0
for i = 3, #ARGV do
  local k = 2 + (i - 3) * 5
  local s = redis.call('HMGET', KEYS[k], 'seq', 'persisted', 'updatedAt')
  local rests = s[1] and s[1] == s[2]
  if rests and redis.call('EXISTS', KEYS[k + 4]) == 1
    and (ARGV[1] == '1' or now - tonumber(s[3] or '0') < tonumber(ARGV[2])) then
    -- In use: behind the others.
    redis.call('ZADD', KEYS[1], now, ARGV[i])
    kept = kept + 1
  else
    redis.call('ZREM', KEYS[1], ARGV[i])
    if rests then
      redis.call('UNLINK', KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3])
      removed = removed + 1
    end
  end
end
return {removed, kept}
