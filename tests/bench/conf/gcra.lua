-- GCRA as one step in Redis, by its clock.  KEYS[1]: the client; ARGV: microseconds a token, burst,
-- cost.  0: admitted; else microseconds to wait.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1] * ARGV[3]
local wait = tat - ARGV[1] * ARGV[2] - now
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
return 0
