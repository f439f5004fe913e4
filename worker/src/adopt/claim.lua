-- Takes tickets for an adoption, extends that, and gives them back.
--
-- KEYS  1 takeover  2 state  3 log  4 dirty
-- ARGV  1 'look', 'take', 'extend' or 'give'   2 ticket id   3 the claim's mark, 'held:<token>'
--       4 ms for which the key stays   5 with 'give': the mark that is left behind, 'done:<token>'
-- Answers to 'look' and 'take' 1 where it may be taken, or was, 0 where Redis has something of the ticket, 2 where another
-- adoption holds it; to the others 1 where the claim still stood, else 0.

local held = redis.call('GET', KEYS[1])

if ARGV[1] == 'look' or ARGV[1] == 'take' then
  if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 or redis.call('ZSCORE', KEYS[4], ARGV[2]) then return 0 end
  if held and held ~= ARGV[3] and string.sub(held, 1, 5) == 'held:' then return 2 end
  if ARGV[1] == 'take' then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
  return 1
end

if held ~= ARGV[3] then return 0 end
if ARGV[1] == 'extend' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[4])
end
return 1
