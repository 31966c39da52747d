-- extend: moves a hold's deadline later, never earlier and not beyond what its leases allow.
--
-- KEYS  1 a   2 h   3 x:<tenant>   (and the t keys of the entry, see hold.lua)
-- ARGV  1-3 guard   4 now   5 tenant   6 job   7 attempt "epoch.seq" ("": any)
--       8 deadline wanted   9 longest lifetime
-- result "OK", code, entry (nil: none)
--        0 DONE | 1 ABSENT (none, or of another attempt) | 2 DUE | 3 SHORT (a lease ends before)
--        4 OLD_LEASE (some quota of it has another lease by now, or none)
--
-- The tenant's score in x stays: it may be earlier than the truth (due.lua puts it right).

-- luacheck: read globals call lease_floor amount load attempt_of quotas_of key_head
local now, wanted = amount(ARGV[4]), amount(ARGV[8])
local entry = call('HGET', KEYS[2], ARGV[6])
if not entry then
    return {'OK', 1, false}
end
local attempt, deadline, created = attempt_of(entry)
if ARGV[7] ~= '' and attempt ~= ARGV[7] then
    return {'OK', 1, entry}
end
if deadline <= now then
    return {'OK', 2, entry}
end
wanted = math.min(wanted, created + amount(ARGV[9]))
if wanted <= deadline then
    return {'OK', 0, entry}
end
local short = false
for _, field, lease in quotas_of(entry) do
    local q = load(key_head .. ARGV[5] .. ':' .. field)
    if not q or q.L ~= lease + 0 or q.L < lease_floor then
        return {'OK', 4, entry}
    end
    short = short or q.D < wanted
end
if short then
    return {'OK', 3, entry}
end
local text = string.format('%.0f', wanted)
entry = entry:gsub('^(%d+:%d+:)%d+', '%1' .. text, 1)
call('HSET', KEYS[2], ARGV[6], entry)
call('ZADD', KEYS[3], text, ARGV[6])
return {'OK', 0, entry}
