-- Take or renew the lease.
-- KEYS: lease
-- ARGV: owner, ms, deadline
-- Reply: 1, or 0 when another holds it
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
