-- Replace a pin, if it is still the expected one, and tell of it.
-- KEYS: pin, moves
-- ARGV: expected code, code, ttl in ms, key without prefix, moves kept, deadline
-- Reply: 1, or 0 when it is another by now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
-- Numbered by the time in microseconds, raised where needed: after an old snapshot was restored
-- the numbers go on above those that workers have seen.
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local number = now
if last then number = math.max(now, tonumber(string.match(last[1], '^%d+')) + 1) end
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], string.format('%.0f-0', number), 'k', ARGV[4])
return 1
