#!lua flags=allow-oom
-- forget: quotas that t lost and the database does not lend any more (their period is over, their
-- limit gone) go from c, too.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then per quota: "limit:period", the lease that it was filled with
-- result "OK", how many went

-- luacheck: read globals call
local gone = 0
for i = 5, #ARGV, 2 do
    if call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] and call('HEXISTS', KEYS[2], ARGV[i]) == 0 then
        gone = gone + call('HDEL', KEYS[3], ARGV[i])
    end
end
return {'OK', gone}
