-- Which commands this user may not run, tried one after the other.
--
-- KEYS  1 a key that nothing else uses
-- ARGV  commands; `{}` in one stands for the key
-- Answers the refused ones, each with the server's words. Others may fail as they like: for the wrong type of the key, say.

local refused = {}
for _, line in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(line, '%S+') do
    words[#words + 1] = word == '{}' and KEYS[1] or word
  end
  local answer = redis.pcall(unpack(words))
  local said = type(answer) == 'table' and answer.err or ''
  -- As Redis 7, and as Redis 8 says it within a script.
  if string.find(said, '^NOPERM') or string.find(said, "executing the script can't", 1, true)
    or string.find(said, 'ACL failure', 1, true) or string.find(said, 'nknown %S* ?command') then
    refused[#refused + 1] = words[1] .. ': ' .. said
  end
end
redis.pcall('DEL', KEYS[1])
return refused
