-- Append to the log of a service.
-- KEYS: log of the service
-- ARGV: entry, entries kept, deadline
-- Reply: 1
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
return 1
