-- What was revoked: a sorted set of names, by when (ms). KEYS: the set.
-- ARGV: 1 for how long entries are kept (ms)   2 since when entries are wanted (ms)
--       and then name and time of each to add; an empty time is now
-- Answers {now, id of the server's data, how many entries are kept, name, time, name, time...}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = '(' .. string.format('%.0f', now - ARGV[1])
for i = 3, #ARGV, 2 do
  local at = ARGV[i + 1]
  if at == '' then at = string.format('%.0f', now) end
  redis.call('ZADD', KEYS[1], 'GT', at, ARGV[i])
end
if #ARGV > 2 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[1]))
end
local info = redis.call('INFO', 'replication')
local answer = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf', 'WITHSCORES')
table.insert(answer, 1, tostring(redis.call('ZCOUNT', KEYS[1], oldest, '+inf')))
table.insert(answer, 1, string.match(info, 'master_replid:(%x+)') or '')
table.insert(answer, 1, string.format('%.0f', now))
return answer
