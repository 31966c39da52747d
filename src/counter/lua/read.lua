#!lua flags=no-writes
-- read: quotas of a tenant as they are.
--
-- KEYS  1 a   2 c, then a t key per quota
-- ARGV  1-3 guard, then "limit:period" per quota
-- result "OK", per quota: L G B S H D C Cv Cd W, or nil and the lease that it was filled with last
--        (0: never)

-- luacheck: read globals call load push
local out = {'OK'}
for i = 3, #KEYS do
    local was = not load(KEYS[i]) and call('HGET', KEYS[2], ARGV[i + 1])
    push(out, KEYS[i], was or 0)
end
return out
