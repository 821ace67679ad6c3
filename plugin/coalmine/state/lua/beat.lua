-- A worker lives. Those not heard of for long are forgotten.
-- KEYS: time of the last beat by worker (sorted set), beat by worker (hash)
-- ARGV: worker, document, microseconds after which one is forgotten, deadline
-- Reply: 1
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
