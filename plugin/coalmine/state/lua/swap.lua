-- Compare-and-set of a service by its epoch, with its log entry; rings.
-- KEYS: services, log of the service, generation
-- ARGV: name, expected epoch ('' when there must be none), value, entry, entries kept, channel,
--       deadline
-- Reply: the new generation, or 0 when another came first
local held = redis.call('HGET', KEYS[1], ARGV[1])
local epoch = held and (string.match(held, '^%d+') or '?') or ''
if epoch ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[5]), -1)
local generation = redis.call('INCR', KEYS[3])
redis.call('PUBLISH', ARGV[6], generation)
return generation
