-- How one partition's Redis is: what is owed to MongoDB, what rests, and what room there is.
--
-- KEYS  1 events  2 dirty  3 rest
-- ARGV  1 the consumer group of the workers   2 ms that a ticket at rest stays, or 0 for ever
-- Answers {entries owed, ms since the oldest of them, used bytes, bytes allowed or 0, '1' where nothing is
-- evicted, '1' where an append-only file is kept, '1' where it could be written last, now, tickets at rest,
-- those of them that have rested for so long, the server}

local function number(text, name) return tonumber(string.match(text, name .. ':(%d+)') or '0') end
local function flag(yes) return yes and '1' or '0' end

-- Without a group nothing was read yet; without a lag Redis can't say how much, and all of it may be.
local owed = redis.call('XLEN', KEYS[1])
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if not groups.err then
  for _, group in ipairs(groups) do
    local g = {}
    for i = 1, #group, 2 do g[group[i]] = group[i + 1] end
    if g.name == ARGV[1] and g.lag then owed = g.lag + g.pending end
  end
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local age = 0
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if oldest[2] then age = math.max(0, now - tonumber(oldest[2])) end

local stay, expired = tonumber(ARGV[2]), 0
if stay > 0 then expired = redis.call('ZCOUNT', KEYS[3], '-inf', now - stay) end

local memory, disk = redis.call('INFO', 'memory'), redis.call('INFO', 'persistence')
return {
  owed, age, number(memory, 'used_memory'), number(memory, 'maxmemory'),
  flag(string.find(memory, 'maxmemory_policy:noeviction', 1, true)),
  flag(number(disk, 'aof_enabled') == 1),
  flag(string.find(disk, 'aof_last_write_status:ok', 1, true)),
  now, redis.call('ZCARD', KEYS[3]), expired, string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'),
}
