-- Reads a ticket and takes a socket's lease in it, as one moment and in one round trip.
--
-- Before this stand the scripts `read` and `presence`, as functions of that name.
--
-- KEYS  1 2 3 of `read`   4 5 of `presence`
-- ARGV  1 to 5 of `read`   6.. of `presence`, for join
-- Answers nil where the ticket is not in Redis, which nobody is in then, else {what `read` answers, people, reason}:
-- what `presence` answers, or why Redis refuses that. People may read all the same.

local ticket = read({KEYS[1], KEYS[2], KEYS[3]}, {unpack(ARGV, 1, 5)})
if not ticket then return false end
local done, people = pcall(presence, {KEYS[4], KEYS[5]}, {unpack(ARGV, 6)})
if done then return {ticket, people, false} end
return {ticket, {}, type(people) == 'table' and people.err or tostring(people)}
