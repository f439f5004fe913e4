-- Puts entries of a ticket back into the stream from which they have vanished; or, where there is none to put back, takes
-- note that somebody looks after the ticket. Until what is put back has left the stream again it is not looked at.
--
-- KEYS  1 state  2 events  3 dirty
-- ARGV  1 ticket id   2 what `persisted` was, or ''   3 since when it was dirty   4 what to add to the time from now on
--       5.. entries
-- Answers 1 where it did, 0 where somebody else was faster, or the ticket has moved on.

local since = redis.call('ZSCORE', KEYS[3], ARGV[1])
if since ~= ARGV[3] or (redis.call('HGET', KEYS[1], 'persisted') or '') ~= ARGV[2] then return 0 end
for i = 5, #ARGV do redis.call('XADD', KEYS[2], '*', 'd', ARGV[i]) end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[3], string.format('%d%s', math.max(now, math.floor(since) + 1), ARGV[4]), ARGV[1])
return 1
