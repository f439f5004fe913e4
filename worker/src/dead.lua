#!lua flags=allow-oom
-- Parks one entry: into the dead stream and out of the pending list, both or neither. Allowed when Redis is
-- out of memory: an entry that nobody can settle would hold up the trimming of all that follow it.
--
-- KEYS  1 events  2 dead
-- ARGV  1 group  2 stream id  3 reason  4 tries  5.. the entry's own fields
-- Answers 1, or 0 where it is not pending: somebody else was faster.

local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err then
  if not string.find(pending.err, 'NOGROUP', 1, true) then return pending end
  -- Redis lost the group. What is still in the stream is handed out again; anything else is known only here.
  if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then return 0 end
elseif #pending == 0 then
  return 0
end
local clock = redis.call('TIME')
local at = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local fields = {'reason', ARGV[3], 'tries', ARGV[4], 'id', ARGV[2], 'at', at}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
-- First the copy: a script that fails half-way is not undone.
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
