#!lua flags=allow-oom
-- recall: takes idle capacity back. G first, as fill does it (a grant that comes later must find
-- itself known, or it would undo the recall), then B rises by what is idle. What is lent beyond the
-- cap and still held is withheld: whatever its holds give back is kept for the next recall.
--
-- KEYS  1 a, then per tenant c, then per totals its t key
-- ARGV  1-3 guard   4 count of tenants   5 count of totals
--       per totals: index of the tenant, then "limit:period" L G B S D C Cv Cd, then what is
--       lent beyond the cap
-- result "OK", per totals: 0 TAKEN | 1 VANISHED | 2 OLDER, then L G B S H D C Cv Cd W
--        (or nil, lease)
--        B of a TAKEN one is what the database must take back

-- luacheck: read globals call amount load flush push totals fill withhold
local tenants, count = ARGV[4] + 0, ARGV[5] + 0
local out, took, after = {'OK'}, {}, {}
local writes = {}
local at = 6
for i = 1, count do
    local c, name = KEYS[1 + ARGV[at]], KEYS[1 + tenants + i]
    local t = totals(at + 1)
    local was = after[name] or call('HGET', c, t.field)
    took[i] = fill(t, name, was)
    if took[i] == 0 then
        if not (was and was + 0 == t.L) then
            was = t.L
            writes[#writes + 1] = {c, t.field, t.L}
        end
        local q = load(name)
        withhold(q, t, amount(ARGV[at + 10]))
        local idle = q.G - q.B - q.S - q.H
        if idle > 0 then
            q.B = q.B + idle
            q.W = math.max(q.W - idle, 0)
        end
    end
    after[name] = was
    at = at + 11
end
flush()
for i = 1, #writes do
    call('HSET', unpack(writes[i]))
end
for i = 1, count do
    out[#out + 1] = took[i]
    push(out, KEYS[1 + tenants + i], after[KEYS[1 + tenants + i]])
end
return out
