-- The workers that were heard of lately.
-- KEYS: time of the last beat by worker (sorted set), beat by worker (hash)
-- ARGV: microseconds
-- Reply: {microseconds since the beat, document, ...}
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local reply = {}
local seen = redis.call(
  'ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now - tonumber(ARGV[1])), '+inf', 'WITHSCORES')
for i = 1, #seen, 2 do
  local document = redis.call('HGET', KEYS[2], seen[i])
  if document then
    reply[#reply + 1] = math.max(0, now - tonumber(seen[i + 1]))
    reply[#reply + 1] = document
  end
end
return reply
