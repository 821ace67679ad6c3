-- Keep a document under a name.
-- KEYS: published
-- ARGV: name, document, deadline
-- Reply: 1
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
