-- Reads a ticket and takes a socket's lease in it, as one moment and in one round trip.
--
-- Before this stand the scripts `read` and `presence`, as functions of that name.
--
-- KEYS  1 to 4 of `read`   5 6 of `presence`
-- ARGV  1 to 6 of `read`   7.. of `presence`, for join
-- Answers what `read` does where the ticket is not in Redis or not whole, which nobody enters then, else
-- {what `read` answers, people, reason}: what `presence` answers, or why Redis refuses that. People may read all the same.

local ticket = read({unpack(KEYS, 1, 4)}, {unpack(ARGV, 1, 6)})
if not ticket or ticket == 0 then return ticket end
local done, people = pcall(presence, {KEYS[5], KEYS[6]}, {unpack(ARGV, 7)})
if done then return {ticket, people, false} end
return {ticket, {}, type(people) == 'table' and people.err or tostring(people)}
