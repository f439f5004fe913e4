-- Accepts a state of a former version, which does not say how many numbers have no field in idem, if Redis' own data
-- shows it: the log has every entry since the first, and idem exactly the messages among them. Of a longer ticket Redis
-- can't show it: the ids of messages below the floor are in idem and MongoDB only, and if idem lost some of them, repeats
-- would be stored twice.
--
-- KEYS  1 state  2 log  3 idem  4 epoch
-- Answers 1 if it is accepted under this server, which must be the one of the former version, else 0

local s = redis.call('HMGET', KEYS[1], 'seq', 'floor', 'unkeyed', 'epoch', 'adopted')
local e = redis.call('HMGET', KEYS[4], 'epoch', 'line', 'since')
local info = redis.call('INFO', 'replication')
local _, found = string.find(info, 'master_replid:', 1, true)
local line = string.sub(info, found + 1, found + 40)
-- Former versions write no `since`; this one does when the server changes. Then MongoDB has to be asked.
if s[4] ~= e[1] or e[2] ~= line or e[3] then return 0 end
local seq = tonumber(s[1] or '0')
if s[2] ~= '0' or s[3] or (s[5] or '0') ~= '0' or seq == 0 or seq > 2000 then return 0 end

local sent, fields = {}, redis.call('HGETALL', KEYS[3])
for i = 2, #fields, 2 do sent[fields[i]] = true end
local entries, keyed = redis.call('XRANGE', KEYS[2], '-', '+'), 0
if #entries ~= seq then return 0 end
for i, entry in ipairs(entries) do
  local number, kind = string.format('%d', i), entry[2][2]
  if entry[1] ~= number .. '-0' then return 0 end
  if kind == 'm' or kind == 'i' then
    if not sent[number] then return 0 end
    keyed = keyed + 1
  end
end
if keyed * 2 ~= #fields then return 0 end
redis.call('HSET', KEYS[1], 'unkeyed', string.format('%d', seq - keyed), 'server', string.sub(line, 1, 8))
return 1
