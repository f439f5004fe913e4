#!lua flags=allow-oom
-- Decides, after a change of server, whether a partition's numbers continue: once each registered gateway has compared
-- the server's data with what it has seen. If one does not answer in time, what it has seen may be lost, and a new epoch
-- begins. Also renews the registration of the gateway that calls.
--
-- The registry is part of the epoch's hash, so that neither is lost without the other: `g:<gateway>` is the server under
-- which that gateway compared last, and the time of its last heartbeat, as `<server>:<ms>`. Redis' file loses its end
-- only. So a gateway that registers first, and leaves last, is in the registry if anything that it has seen was lost.
--
-- KEYS  1 epoch
-- ARGV  1 the epoch to begin with   2 ms within which registered gateways have to answer
--       3 the gateway that calls, or ''   4 the server under which it has compared everything, '' if it has seen nothing
--       5 ms between two heartbeats   6 ms of silence after which a gateway is removed
-- Answers {server, 1 if numbers continue, else 0, epoch, number of gateways because of which this call ended an epoch}

local function int(n) return string.format('%d', n) end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local info = redis.call('INFO', 'replication')
local _, found = string.find(info, 'master_replid:', 1, true)
local line = string.sub(info, found + 1, found + 40)
local server = string.sub(line, 1, 8)

local e, gateways = {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local gateway = string.match(all[i], '^g:(.+)$')
  if gateway then gateways[gateway] = all[i + 1] else e[all[i]] = all[i + 1] end
end

-- As the append script sees it.
local epoch, since = e.epoch, e.since or '0'
if line ~= e.line then
  local before = string.match(info, 'master_replid2:(%x+)')
  since = e.line and int(now) or '0'
  if not epoch or (before and string.find(before, '[^0]')) then epoch, since = ARGV[1], '0' end
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'line', line, 'since', since)
end

local function parts(registered)
  local compared, at = string.match(registered, '^(%x*):(%d+)$')
  return compared, tonumber(at) or 0
end

if ARGV[3] ~= '' then
  local compared = ARGV[4] ~= '' and ARGV[4] or server
  local last, at = parts(gateways[ARGV[3]] or '')
  if last ~= compared or now < at or now - at >= tonumber(ARGV[5]) then
    gateways[ARGV[3]] = compared .. ':' .. int(now)
    -- A server that refuses writes acknowledges nothing either.
    redis.pcall('HSET', KEYS[1], 'g:' .. ARGV[3], gateways[ARGV[3]])
  end
end

local absent, silent = {}, {}
for gateway, registered in pairs(gateways) do
  local compared, at = parts(registered)
  if compared ~= server then absent[#absent + 1] = 'g:' .. gateway end
  if now - at > tonumber(ARGV[6]) then silent[#silent + 1] = 'g:' .. gateway end
end

if since == '0' then
  -- What a silent one had seen is in the file by now.
  if #silent > 0 then redis.pcall('HDEL', KEYS[1], unpack(silent)) end
  return {server, 1, epoch, 0}
end
local waited = now - since
if #absent > 0 and waited >= 0 and waited < tonumber(ARGV[2]) then return {server, 0, epoch, 0} end
if #absent > 0 then
  epoch = ARGV[1]
  redis.call('HDEL', KEYS[1], unpack(absent))
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'since', '0')
return {server, 1, epoch, #absent}
