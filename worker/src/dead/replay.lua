#!lua
-- Hands one parked entry to the workers once more: back into the events stream, as it came, and out of the
-- dead stream, both or neither. Refused as a whole when Redis is out of memory: it stays parked.
--
-- KEYS  1 dead  2 events
-- ARGV  1 id in the dead stream
-- Answers its new id in the events stream, 0 where it is not there, 1 where no worker parked it.

local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not found then return 0 end
local fields = found[2]
-- What the parking put before the entry's own fields.
for i, name in ipairs({'reason', 'tries', 'id', 'at'}) do
  if fields[2 * i - 1] ~= name then return 1 end
end
if #fields < 10 then return 1 end
-- First the copy: a script that fails half-way is not undone.
local id = redis.call('XADD', KEYS[2], '*', unpack(fields, 9))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
