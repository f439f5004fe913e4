-- Renews the leases of several tickets, one after the other; one that fails does not stop the next. Before this stands
-- the script `presence`, as a function of that name.
--
-- KEYS  of each ticket: the four of `presence`
-- ARGV  of each ticket: how many follow, and those of `presence`, for beat
-- Answers of each ticket {'ok', seq or false, epoch or false}, or {'failed', reason} where Redis refuses

local answers, at = {}, 1
for k = 1, #KEYS, 4 do
  local args = {}
  for i = 1, tonumber(ARGV[at]) do args[i] = ARGV[at + i] end
  at = at + #args + 1
  local done, answer = pcall(presence, {KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]}, args)
  answers[#answers + 1] = done and {'ok', answer[1], answer[2]}
    or {'failed', type(answer) == 'table' and answer.err or tostring(answer)}
end
return answers
