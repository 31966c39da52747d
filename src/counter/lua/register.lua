#!lua flags=allow-oom
-- register: puts tenants of the shard into x, those of them that have something here.
--
-- KEYS  1 a
-- ARGV  1-4 guard   5 "1" if these are the last of all the shard's tenants: x is whole then
--       6 and on: tenants
-- result "OK", how many were missing

-- luacheck: read globals call base index_first deadline_of
local x_name, missing = base .. 'x:' .. ARGV[4], 0
for i = 6, #ARGV do
    local tenant = ARGV[i]
    if call('EXISTS', base .. 't:' .. tenant, base .. 'c:' .. tenant) > 0 then
        local first = index_first(tenant, call('HGET', base .. 't:' .. tenant, 'x'))
        local score = first and deadline_of(first) or 'inf'
        missing = missing + call('ZADD', x_name, 'LT', score, tenant)
    end
end
if ARGV[5] == '1' then
    call('ZADD', x_name, 'inf', '0')
end
return {'OK', missing}
