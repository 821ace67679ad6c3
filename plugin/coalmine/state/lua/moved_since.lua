-- The keys moved after a cursor.
-- KEYS: moves
-- ARGV: cursor, or -1 to ask where the end is; moves kept
-- Reply: {last number, key, key, ...}, or nil when some are no longer known. The number is text.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last_number = last and string.match(last[1], '^%d+') or '0'
local cursor = tonumber(ARGV[1])
if cursor < 0 then return {last_number} end
if cursor > tonumber(last_number) then return false end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if cursor < tonumber(string.match(first[1], '^%d+')) then return false end
end
local reply = {last_number}
for _, move in ipairs(redis.call('XRANGE', KEYS[1], string.format('%.0f-1', cursor), '+')) do
  reply[#reply + 1] = move[2][2]
end
return reply
