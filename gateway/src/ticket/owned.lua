-- Whether a ticket is in Redis and is this user's. KEYS: its state. ARGV: the user's id as JSON text.
-- Both texts come from one JSON encoder, and a quote within a value is escaped: the name can't stand in one.
local base = redis.call('HGET', KEYS[1], 'base')
return base and string.find(base, '"userId":' .. ARGV[1], 1, true) and 1 or 0
