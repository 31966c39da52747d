#!lua flags=allow-oom
-- recall: takes idle capacity back. G first, as fill does it (a grant that comes later must find
-- itself known, or it would undo the recall), then B rises by what is idle. What is lent beyond the
-- cap and still held is withheld: whatever its holds give back is kept for the next recall.
--
-- KEYS  1 a, then per tenant t and c
-- ARGV  1-4 guard   5 count of totals
--       per totals: index of the tenant, then "limit:period" L G B S D C Cv Cd E, then what is
--       lent beyond the cap
-- result "OK", per totals: 0 TAKEN | 1 VANISHED | 2 OLDER, then the quota's text (or nil, lease)
--        B of a TAKEN one is what the database must take back

-- luacheck: read globals call amount load flush push totals TOTALS withhold fill_all keep_filled
local count = ARGV[5] + 0
local took, filled, after = fill_all(6, count, function(t, q, at)
    withhold(q, t, amount(ARGV[at + 1 + TOTALS]))
    local idle = q.G - q.B - q.S - q.H
    if idle > 0 then
        q.B = q.B + idle
        q.W = math.max(q.W - idle, 0)
    end
end)
flush()
keep_filled(filled)
local out, at = {'OK'}, 6
for i = 1, count do
    local t = KEYS[2 * ARGV[at]]
    out[#out + 1] = took[i]
    push(out, t, ARGV[at + 1], after[t][ARGV[at + 1]])
    at = at + 2 + TOTALS
end
return out
