#!lua flags=no-writes
-- read: quotas of a tenant as they are.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then "limit:period" per quota
-- result "OK", per quota: its text (quota.lua), or nil and the lease that it was filled with last
--        (0: never)

-- luacheck: read globals call
local out, o = {'OK'}, 1
local texts = #ARGV > 4 and call('HMGET', KEYS[2], unpack(ARGV, 5)) or {}
for i = 1, #texts do
    o = o + 1
    out[o] = texts[i]
    if not texts[i] then
        o = o + 1
        out[o] = call('HGET', KEYS[3], ARGV[4 + i]) or 0
    end
end
return out
