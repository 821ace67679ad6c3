-- The first alias that has a pin, with the key to which it leads.
-- KEYS: pin or alias, ...
-- ARGV: ttl in ms, prefix of pins
-- Reply: {key with prefix, code}, or nil
-- Both are kept for the ttl again; not written anew while nine tenths of it are left.
local ttl = tonumber(ARGV[1])
local function keep(key)
  if redis.call('PTTL', key) < ttl * 0.9 then redis.call('PEXPIRE', key, ttl) end
end
for _, alias in ipairs(KEYS) do
  local key, held = alias, redis.call('GET', alias)
  if held and #held == 8 then
    key = ARGV[2] .. held
    held = redis.call('GET', key)
  end
  if held then
    keep(key)
    if key ~= alias then keep(alias) end
    return {key, tonumber(held)}
  end
end
return false
