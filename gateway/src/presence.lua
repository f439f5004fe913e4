-- Who is in a ticket: leases of sockets, counted by person.
--
-- KEYS  1 here (lease -> when it ends)   2 who (person -> JSON, '#' + person -> how many leases)
--       3 state   4 epoch   for beat
-- ARGV  1 op   2 channel   3 lease in ms   4.. by op:
--   join   lease, person, JSON of the person     a socket came in
--   leave  lease, person                         it said that it leaves
--   drop   lease, person, grace in ms            its connection ended; a reload may bring the person back
--   beat   (lease, person, JSON) ...             these sockets are still here
-- Every op also ends the leases that ran out: whoever removes a person's last lease tells the others, once.
-- Answers with JSON of everybody who is there, for join; with the ticket's newest seq (false where it is not in Redis) and
-- the epoch, for beat; else an empty list.
--
-- A lease is '<socket>|<person>', and '~' before it once the connection has ended.

local op, channel, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function came(lease, person, json)
  if redis.call('ZADD', KEYS[1], now + lease_ms, lease) == 1 then
    -- Where its connection had ended, it came back under the same id before the grace was over, and counts already.
    if redis.call('ZREM', KEYS[1], '~' .. lease) == 0 then redis.call('HINCRBY', KEYS[2], '#' .. person, 1) end
    if redis.call('HSETNX', KEYS[2], person, json) == 1 then
      redis.call('SPUBLISH', channel, 'S{"joined":' .. json .. '}')
    else
      redis.call('HSET', KEYS[2], person, json)
    end
  end
end

local function went(person, reason)
  if redis.call('HINCRBY', KEYS[2], '#' .. person, -1) > 0 then return end
  local json = redis.call('HGET', KEYS[2], person)
  redis.call('HDEL', KEYS[2], person, '#' .. person)
  if json then
    redis.call('SPUBLISH', channel, 'S{"left":{"person":' .. json .. ',"reason":"' .. reason .. '"}}')
  end
end

local function sweep()
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
    redis.call('ZREM', KEYS[1], lease)
    local ended = string.sub(lease, 1, 1) == '~'
    went(string.sub(lease, string.find(lease, '|', 1, true) + 1), ended and 'disconnected' or 'timeout')
  end
end

if op == 'join' then
  came(ARGV[4], ARGV[5], ARGV[6])
elseif op == 'beat' then
  for i = 4, #ARGV, 3 do
    came(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
elseif op == 'leave' then
  if redis.call('ZREM', KEYS[1], ARGV[4]) == 1 then went(ARGV[5], 'left') end
elseif op == 'drop' then
  if redis.call('ZREM', KEYS[1], ARGV[4]) == 1 then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[6]), '~' .. ARGV[4])
  end
end
sweep()

-- Should every gateway be gone, the keys go too. Not put off each time: Redis writes that to its file.
if math.min(redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2])) < lease_ms * 2 then
  redis.call('PEXPIRE', KEYS[1], lease_ms * 3)
  redis.call('PEXPIRE', KEYS[2], lease_ms * 3)
end

if op == 'beat' then return {redis.call('HGET', KEYS[3], 'seq'), redis.call('HGET', KEYS[4], 'epoch')} end

local people = {}
if op == 'join' then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) ~= '#' then people[#people + 1] = all[i + 1] end
  end
end
return people
