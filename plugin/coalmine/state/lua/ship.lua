-- Keep a batch once, add to its gateway's totals, and ring when it is urgent.
-- KEYS: batches, last number of the worker, totals of the gateway
-- ARGV: number, document, ms that batches are kept, ms that numbers and totals are kept,
--       channel ('' for no ring), then name and value of each total, deadline
-- Reply: 1, or 0 when it was kept before
if tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
local oldest = string.format('%.0f', math.max(0, math.floor(now / 1000) - tonumber(ARGV[3])))
redis.call('XADD', KEYS[1], 'MINID', '~', oldest, '*', 'd', ARGV[2])
for i = 6, #ARGV - 1, 2 do redis.call('HINCRBYFLOAT', KEYS[3], ARGV[i], ARGV[i + 1]) end
if #ARGV > 6 then redis.call('PEXPIRE', KEYS[3], ARGV[4]) end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], '') end
return 1
