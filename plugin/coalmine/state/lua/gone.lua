-- A worker has ended.
-- KEYS: time of the last beat by worker (sorted set), beat by worker (hash)
-- ARGV: worker, deadline
-- Reply: 1
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
