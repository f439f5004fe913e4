#!lua flags=allow-oom
-- Removes the consumers of workers that are gone. One that has entries pending stays, however long it has been
-- silent: its removal would take them out of the pending list, and nobody would ever settle them. So the look
-- and the removal are one step. Allowed when Redis is out of memory: it needs none.
--
-- KEYS  1 events
-- ARGV  1 group  2 the caller's own name  3 for how many ms a consumer must have been silent
-- Answers the names of those that it removed.

local removed = {}
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local c = {}
  for i = 1, #consumer, 2 do c[consumer[i]] = consumer[i + 1] end
  if c.name ~= ARGV[2] and c.pending == 0 and c.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
    removed[#removed + 1] = c.name
  end
end
return removed
