-- Give the lease back.
-- KEYS: lease
-- ARGV: owner, deadline
-- Reply: 1, or 0 when another holds it
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
