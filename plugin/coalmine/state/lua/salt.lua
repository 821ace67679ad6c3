-- Keep a salt unless there is one.
-- KEYS: salt
-- ARGV: salt, deadline
-- Reply: the one that is kept
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
