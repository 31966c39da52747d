#!lua flags=allow-oom
-- rebuild: makes anew, step by step, what can be derived from a tenant's t: the index of its holds,
-- and c. Between the steps everything goes on; what comes meanwhile finds its place.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard   5 tenant   6 cursor ("0": begins, what there is of the index goes)
--       7 fields of a step, about
-- result "OK", cursor of the next step ("0": done)

-- luacheck: read globals call base attempt_of index_add index_first deadline_of drop_index load
local t, c, tenant = KEYS[2], KEYS[3], ARGV[5]
if ARGV[6] == '0' then
    drop_index(tenant, call('HGET', t, 'x'))
    call('HDEL', t, 'x')
end
local page = call('HSCAN', t, ARGV[6], 'COUNT', ARGV[7])
local places, members = {}, {}
for i = 1, #page[2], 2 do
    local field = page[2][i]
    if field:find('=', 1, true) then
        local _, place = attempt_of(page[2][i + 1])
        places[#places + 1], members[#members + 1] = place, field
    elseif field:find(':', 1, true) then
        call('HSETNX', c, field, ('%d'):format(load(t, field).L))
    end
end
local x = call('HGET', t, 'x')
if #places > 0 then
    local newer = index_add(tenant, x, places, members)
    if newer then
        x = newer
        call('HSET', t, 'x', x)
    end
end
local first = index_first(tenant, x)
if first then
    call('ZADD', base .. 'x:' .. ARGV[4], 'LT', deadline_of(first), tenant)
end
return {'OK', page[1]}
