-- Reads the state of tickets that MongoDB does not have as they are.
--
-- KEYS  1 the index that they were found in, or any key of the partition   2 dirty   then each ticket's state
-- ARGV  1 which: 'created' (MongoDB has nothing of it), 'dirty' (it lacks something), 'head' (the same, only the head)
--       then the tickets' ids
-- Answers of each ticket false where it is not such a one, else its head, or as `read.lua`, without log and epoch. One
-- that was created and is in MongoDB by now leaves the index; not one of which only the state is gone.

local answers = {}
for i = 3, #KEYS do
  local s
  if ARGV[1] == 'head' then
    s = redis.call('HMGET', KEYS[i], 'seq', 'head', 'persisted')
  else
    s = redis.call('HMGET', KEYS[i],
      'seq', 'pub', 'persisted', 'floor', 'adopted', 'count', 'last', 'updatedAt', 'head', 'base', 'pubAt')
  end
  local found = s[1] and s[3] ~= s[1]
  if ARGV[1] == 'created' and not (s[1] and s[3] == '0') then
    if s[1] or not redis.call('ZSCORE', KEYS[2], ARGV[i - 1]) then redis.call('ZREM', KEYS[1], ARGV[i - 1]) end
    found = false
  end
  if found and ARGV[1] == 'head' then
    s = s[2]
  elseif found then
    s[12], s[13] = '', {}
  end
  answers[i - 2] = found and s
end
return answers
