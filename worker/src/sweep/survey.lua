-- Which tickets of a partition wait to be persisted for longer than anything is in its stream.
--
-- KEYS  1 events  2 dirty
-- ARGV  1 the consumer group of the workers   2 ms for which a ticket must have waited at least
--       3 how many of them to pass over   4 how many to answer with at most
-- Answers nil where the group is not there, which its readers mend, else {ms, {ticket id, since, ...}}: what was
-- appended before that time is no more in the stream.

local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return false end
local delivered
for _, group in ipairs(groups) do
  local g = {}
  for i = 1, #group, 2 do g[group[i]] = group[i + 1] end
  if g.name == ARGV[1] then delivered = g['last-delivered-id'] end
end
if not delivered then return false end

local clock = redis.call('TIME')
local before = clock[1] * 1000 + math.floor(clock[2] / 1000) - ARGV[2]
-- An entry's time is that of the beginning of its script. Its id is later where the script took long, or where the
-- server's clock is behind that of the one before.
local function waits(id, entry)
  local appended = string.match(entry and entry[2][2] or '', '"a":(%d+)')
  before = math.min(before, tonumber(string.match(id, '^%d+')), tonumber(appended or before))
end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
if pending[1] > 0 then waits(pending[2], redis.call('XRANGE', KEYS[1], pending[2], pending[2])[1]) end
local unread = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
if unread then waits(unread[1], unread) end

local text = string.format('%d', before)
return {text, redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. text, 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[4])}
