#!lua flags=allow-oom
-- due: which tenants have holds past their deadline, or which holds of a tenant are.
--
-- KEYS  1 a   2 x, then per candidate x:<tenant> (built here: the candidates are what x says)
--       or 1 a   2 x:<tenant>   3 h
-- ARGV  1-3 guard   4 now   5 most answers   6 "tenants" or "holds"
-- result "OK", then tenants, or job and entry of each hold, soonest deadline first
--
-- A tenant's score in x may be earlier than its earliest deadline, because settle and extend leave
-- it alone. Such a score is put right here, so that it comes up once.

-- luacheck: read globals call amount
local now, max = amount(ARGV[4]), amount(ARGV[5])
local out = {'OK'}
if ARGV[6] == 'holds' then
    local jobs = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, max)
    for i = 1, #jobs do
        out[2 * i] = jobs[i]
        out[2 * i + 1] = call('HGET', KEYS[3], jobs[i])
    end
    return out
end
local candidates = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 4 * max)
for i = 1, #candidates do
    local first = call('ZRANGE', KEYS[2] .. ':' .. candidates[i], 0, 0, 'WITHSCORES')
    if not first[1] then
        call('ZREM', KEYS[2], candidates[i])
    elseif first[2] + 0 > now then
        call('ZADD', KEYS[2], first[2], candidates[i])
    elseif #out <= max then
        out[#out + 1] = candidates[i]
    end
end
return out
