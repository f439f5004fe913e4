-- What was revoked: a sorted set of names, by when (ms). KEYS: the set. ARGV: for how long entries are kept (ms),
-- then name and time of each to add; an empty time is now. Answers with now and with all entries.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV, 2 do
  local at = ARGV[i + 1]
  if at == '' then at = string.format('%.0f', now) end
  redis.call('ZADD', KEYS[1], 'GT', at, ARGV[i])
end
if #ARGV > 1 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[1]))
end
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
table.insert(all, 1, string.format('%.0f', now))
return all
