-- Set a pin unless there is one.
-- KEYS: pin
-- ARGV: code, ttl in ms, prefix of pins, deadline
-- Reply: nil when it was set, else the code of the one that is there
local held = redis.call('GET', KEYS[1])
if held and #held == 8 then -- an alias: the pin is where it leads
  local key = ARGV[3] .. held
  held = redis.call('GET', key)
  if held then redis.call('PEXPIRE', key, ARGV[2]) end
end
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(held)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
