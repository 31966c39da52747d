-- retake: an attempt's hold stands again, under leases of now, in all of its quotas or in none.
-- It is the same attempt as before, so that a fence or a record of it means this hold too.
--
-- KEYS  1 a   2 t
-- ARGV  1-4 guard   5 now   6 tenant   7 "tenant=job"   8 epoch   9 seq   10 deadline   11 created
--       12 its quotas as in hold.lua, current leases   13 "scope|mode|meters"
--       14 "1": only if the attempt is still there
-- result "OK", code, entry (nil: none)
--        0 DONE: as it stands, with the later deadline if the hold was there
--        1 OTHER: another attempt of the job holds, or none though this one was there
--        2 SHORT: a lease of it is not the current one, ends before, or has too little left
--
-- What the attempt held before is given back first, where its lease still is the key's.

-- luacheck: read globals call shown lease_floor amount load flush base attempt_of quotas_of
-- luacheck: read globals give_back place_of index_add index_remove
local t, tenant, job = KEYS[2], ARGV[6], ARGV[7]
local attempt, deadline, created = ARGV[8] .. '.' .. ARGV[9], amount(ARGV[10]), amount(ARGV[11])
local found = call('HMGET', t, job, 'x')
local before, x = shown(found[1]), found[2]
local place_before
if not before and ARGV[14] == '1' then
    return {'OK', 1, false}
end
if before then
    local other, _, was = attempt_of(before)
    if other ~= attempt then
        return {'OK', 1, before}
    end
    deadline = math.max(deadline, was)
    place_before = give_back(t, before)
    if not place_before then
        return {'OK', 1, before}
    end
end
local place = ('%d'):format(place_of(deadline, amount(ARGV[9])))
local entry = ('%s:%s:%s:%d;%s|%s'):format(ARGV[8], ARGV[9], place, deadline - created, ARGV[12],
    ARGV[13])
for _, field, lease, units in quotas_of(entry) do
    local q = load(t, field)
    if not q or q.L ~= lease or lease < lease_floor or q.D < deadline
        or q.G - q.B - q.S - q.H - q.W < amount(units) then
        return {'OK', 2, before}
    end
    q.H = q.H + units
end
flush()
if place_before and not index_remove(tenant, x, {place_before}, {job}) then
    x = false
    call('HDEL', t, 'x')
end
x = index_add(tenant, x, {place}, {job})
call('HSET', t, job, entry, unpack(x and {'x', x} or {}))
call('ZADD', base .. 'x:' .. ARGV[4], 'LT', ('%d'):format(deadline), tenant)
return {'OK', 0, entry}
