-- Set a pin unless there is one, and let the aliases that are free lead to it.
-- KEYS: pin, alias, ...
-- ARGV: code, ttl in ms, prefix of pins, deadline
-- Reply: 1
-- An alias whose pin has expired is free.
local function root(at)
  local held = redis.call('GET', at)
  if held and #held == 8 then
    at = ARGV[3] .. held
    held = redis.call('GET', at)
  end
  return at, held
end
local key, held = root(KEYS[1])
if held then
  redis.call('PEXPIRE', key, ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  key = KEYS[1]
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
local target = string.sub(key, #ARGV[3] + 1)
for i = 2, #KEYS do
  local leads, pin = root(KEYS[i])
  if KEYS[i] ~= key and not pin then
    redis.call('SET', KEYS[i], target, 'PX', ARGV[2])
  elseif leads == key then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return 1
