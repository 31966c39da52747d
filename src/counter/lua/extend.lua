-- extend: moves a hold's deadline later, never earlier and not beyond what its leases allow.
--
-- KEYS  1 a   2 t
-- ARGV  1-4 guard   5 now   6 tenant   7 "tenant=job"   8 attempt "epoch.seq" ("": any)
--       9 deadline wanted   10 longest lifetime
--       11 quotas as in hold.lua: the root keeps these leases until then ("": it says nothing)
--       12.. B of each of these as the root had it then: where it is larger here, the lease's D may
--       have fallen since (recall.lua), and the root with it
-- result "OK", code, entry (nil: none)
--        0 DONE | 1 ABSENT (none, or of another attempt) | 2 DUE | 3 SHORT (a lease ends before)
--        4 OLD_LEASE (some quota of it has another lease by now, or none)
--
-- The tenant's score in x stays: it may be earlier than the truth (due.lua puts it right).

-- luacheck: read globals call shown lease_floor amount load attempt_of quotas_of
-- luacheck: read globals place_of index_add index_remove
local now, wanted = amount(ARGV[5]), amount(ARGV[9])
local t, tenant, job = KEYS[2], ARGV[6], ARGV[7]
local found = call('HMGET', t, job, 'x')
local entry, x = shown(found[1]), found[2]
if not entry then
    return {'OK', 1, false}
end
local attempt, place, deadline, created = attempt_of(entry)
if ARGV[8] ~= '' and attempt ~= ARGV[8] then
    return {'OK', 1, entry}
end
if deadline <= now then
    return {'OK', 2, entry}
end
wanted = math.min(wanted, created + amount(ARGV[10]))
if wanted <= deadline then
    return {'OK', 0, entry}
end
local older, short = false, false
local kept, i = ARGV[11] ~= '' and entry:match('^[^;]*;([^|]*)|') == ARGV[11], 11
for _, field, lease in quotas_of(entry) do
    local q = load(t, field)
    i = i + 1
    if kept then
        short = short or q and q.L == lease and q.B > amount(ARGV[i])
    else
        older = older or not q or q.L ~= lease or lease < lease_floor
        short = short or not older and q.D < wanted
    end
end
if older or short then
    return {'OK', older and 4 or 3, entry}
end
local moved = ('%d'):format(place_of(wanted, place))
entry = entry:gsub('^(%d+:%d+:)%d+:%d+', ('%%1%s:%d'):format(moved, wanted - created), 1)
if not index_remove(tenant, x, {place}, {job}) then
    x = false
    call('HDEL', t, 'x')
end
x = index_add(tenant, x, {moved}, {job})
call('HSET', t, job, entry, unpack(x and {'x', x} or {}))
return {'OK', 0, entry}
