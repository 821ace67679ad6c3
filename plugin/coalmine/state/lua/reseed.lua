-- Put a service there that is missing or older; on the same epoch one that was rolled back wins.
-- KEYS: services, log of the service, generation, salt
-- ARGV: name, epoch, 1 when it was rolled back else 0, value, entry, entries kept, channel,
--       salt ('' when it is not known), deadline
-- Reply: the new generation, or 0 when it was not put there
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  local epoch, back = string.match(held, '^(%d+) ([01]) ')
  epoch, back = tonumber(epoch), tonumber(back)
  local mine = tonumber(ARGV[2])
  if not epoch or epoch > mine or (epoch == mine and back >= tonumber(ARGV[3])) then return 0 end
end
if ARGV[8] ~= '' then redis.call('SETNX', KEYS[4], ARGV[8]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('RPUSH', KEYS[2], ARGV[5])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[6]), -1)
local generation = redis.call('INCR', KEYS[3])
redis.call('PUBLISH', ARGV[7], generation)
return generation
