-- Put before each script that writes: what its caller has given up is not done later.
-- The last ARGV is the deadline, in microseconds of this server's clock.
-- Leaves `now`, that clock. Replies the error LATE, having done nothing.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
if now > tonumber(ARGV[#ARGV]) then
  return redis.error_reply('LATE the caller has given up')
end
