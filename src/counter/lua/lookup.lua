#!lua flags=no-writes
-- lookup: what jobs of a tenant hold now.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then "tenant=job" of each
-- result "OK", 1 if t was lost (c has more quotas), so that nil says nothing, else 0; per job its
--        entry, or nil

-- luacheck: read globals call shown
local out = call('HMGET', KEYS[2], unpack(ARGV, 5))
local found = true
for i = 1, #out do
    found = found and out[i]
    out[i] = shown(out[i])
end
local lost = not found and call('HLEN', KEYS[3]) > (call('HGET', KEYS[2], 'q') or 0) + 0
table.insert(out, 1, 'OK')
table.insert(out, 2, lost and 1 or 0)
return out
