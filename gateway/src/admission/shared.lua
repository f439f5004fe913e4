-- What all gateways know of clients: who is turned away, and who uses much of its rate. Written only where there is
-- such news; the key goes once nothing of it holds any more.
--
-- KEYS  1 a hash   'b' and an owner: until when (ms) and which ban in a row it is
--                  'u' and an owner: when all that it used is paid back (µs)
-- ARGV  1 the shortest ban   2 the longest   3 how long one is remembered after its end (ms)   4 fields at most
--       and then of each news   1 'b' or 'u'   2 the owner   3 of 'u': how much was used, in time (µs)
-- Answers of all that holds: 'b', owner, ms left, which in a row; 'u', owner, µs left, 0

local function int(n) return string.format('%.0f', n) end

local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local ms = math.floor(us / 1000)
local shortest, longest, remembered, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function ban(field)
  local before = redis.call('HGET', KEYS[1], field)
  local till, strikes = string.match(before or '', '(%d+) (%d+)')
  till, strikes = tonumber(till or 0), tonumber(strikes or 0)
  -- Another gateway was faster.
  if ms < till then return end
  if ms >= till + remembered then strikes = 0 end
  strikes = strikes + 1
  till = ms + math.min(longest, shortest * 2 ^ math.min(strikes - 1, 30))
  redis.call('HSET', KEYS[1], field, int(till) .. ' ' .. int(strikes))
end

local function use(field, used)
  local paid_back = tonumber(redis.call('HGET', KEYS[1], field) or 0)
  redis.call('HSET', KEYS[1], field, int(math.max(paid_back, us) + used))
end

for i = 5, #ARGV, 3 do
  local field = ARGV[i] .. ARGV[i + 1]
  if redis.call('HLEN', KEYS[1]) < most or redis.call('HEXISTS', KEYS[1], field) == 1 then
    if ARGV[i] == 'b' then ban(field) else use(field, tonumber(ARGV[i + 2])) end
  end
end
if #ARGV > 4 then redis.call('PEXPIRE', KEYS[1], int(longest + remembered)) end

local all, told, over = redis.call('HGETALL', KEYS[1]), {}, {}
for i = 1, #all, 2 do
  local kind, owner = string.sub(all[i], 1, 1), string.sub(all[i], 2)
  local left, strikes
  if kind == 'b' then
    local till
    till, strikes = string.match(all[i + 1], '(%d+) (%d+)')
    left = till - ms
    if left <= -remembered then over[#over + 1] = all[i] end
  else
    left, strikes = all[i + 1] - us, '0'
    if left <= 0 then over[#over + 1] = all[i] end
  end
  if left > 0 then
    for _, word in ipairs({kind, owner, int(left), strikes}) do told[#told + 1] = word end
  end
end
for i = 1, #over do redis.call('HDEL', KEYS[1], over[i]) end
return told
