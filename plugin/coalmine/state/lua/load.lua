-- All services, and the generation they belong to.
-- KEYS: services, generation
-- Reply: {generation, name, value, name, value, ...}
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, tonumber(redis.call('GET', KEYS[2]) or 0))
return reply
