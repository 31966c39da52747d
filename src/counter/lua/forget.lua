#!lua flags=allow-oom
-- forget: quotas that t lost and the database does not lend any more (their period is over, their
-- limit gone) go from c, too.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then per quota: "limit:period", the lease that it was filled with
-- result "OK", how many went

-- With the last of them goes what else there is of a tenant that has lost its t.

-- luacheck: read globals call base drop_index
local gone = 0
for i = 5, #ARGV, 2 do
    if call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] and call('HEXISTS', KEYS[2], ARGV[i]) == 0 then
        gone = gone + call('HDEL', KEYS[3], ARGV[i])
    end
end
if gone > 0 and call('EXISTS', KEYS[2], KEYS[3]) == 0 then
    local tenant = KEYS[2]:match('%d+$')
    call('ZREM', base .. 'x:' .. ARGV[4], tenant)
    drop_index(tenant, nil)
end
return {'OK', gone}
