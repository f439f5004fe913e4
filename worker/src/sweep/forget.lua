#!lua flags=allow-oom
-- Takes out of Redis what is left of a ticket of which nothing can be owed any more; whoever needs it brings it back from
-- MongoDB.
--
-- KEYS  1 state  2 log  3 ahead  4 idem  5 dirty  6 epoch
-- ARGV  1 ticket id   2 what `seq` of the state was, or ''   3 since when it was dirty
--       4 the epoch to begin with, because numbers were lost with it that will be given again, or ''
-- Answers 1 where it did, 0 where somebody else was faster, or the ticket has moved on.

if redis.call('ZSCORE', KEYS[5], ARGV[1]) ~= ARGV[3]
  or (redis.call('HGET', KEYS[1], 'seq') or '') ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[5] .. ':created', ARGV[1])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[6], 'epoch', ARGV[4]) end
return 1
