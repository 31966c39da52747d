#!lua flags=allow-oom
-- recall: takes idle capacity back. G first, as fill does it (a grant that comes later must find
-- itself known, or it would undo the recall), then B rises by what is idle. What is lent beyond the
-- cap and still held is withheld: whatever its holds give back is kept for the next recall.
--
-- KEYS  1 a, then per tenant t and c
-- ARGV  1-4 guard   5 count of totals   6 now   7 how long a lease lasts at least
--       per totals: index of the tenant, then "limit:period" L G B S D C Cv Cd E, then what is
--       lent beyond the cap, then how much goes back
--         0 ALL     whatever is idle
--         1 STILL   nothing has moved lately: what is more than a quarter of what is free; all, if
--                   a hold is live for longer than a lease lasts at least, or the lease is over.
--                   D falls to the end of the longest live hold, or to what it is at least
--         2 MOVING  nothing, but D falls to that and as much again
--       and what the database has to lend
-- result "OK", per totals: 0 TAKEN | 1 VANISHED | 2 OLDER, then the lease's deadline if it fell,
--        else 0, then the quota's text (or nil, lease)
--        B of a TAKEN one is what the database must take back
--
-- D falls only with a rise of B (totals.lua), by a unit if nothing else is to go back. The database
-- follows where this rise of B is news to it (quota/lease.h).

-- luacheck: read globals call amount load flush push totals TOTALS withhold fill_all keep_filled
-- luacheck: read globals ends_of
local ALL = 0 -- RECALL_ALL, counter/counter.h
local STILL = 1 -- RECALL_STILL, counter/counter.h
local QUARTER = 4
local count, now, least = ARGV[5] + 0, amount(ARGV[6]), amount(ARGV[7])
local lowered, ends = {}, {}

-- Until when what is held in the quota needs its lease, and at least; nil: not known.
local function needed_until(at, q)
    local key = 2 * ARGV[at]
    local known = ends[key]
    if known == nil then
        known = ends_of(KEYS[key], KEYS[key + 1], now + least)
        ends[key] = known
    end
    return known and math.max(known[ARGV[at + 1] .. ' ' .. q.L] or 0, known.rest)
end

-- What goes back of a quota that nobody has touched lately.
local function spare(q, at, idle, needed)
    if q.D <= now or needed and needed > now + least then
        return idle
    end
    local free = amount(ARGV[at + 3 + TOTALS]) + idle
    return math.max(idle - math.floor(free / QUARTER), 0)
end

local took, filled, after = fill_all(8, count, 3, function(t, q, at, i)
    withhold(q, t, amount(ARGV[at + 1 + TOTALS]))
    local how, idle = ARGV[at + 2 + TOTALS] + 0, q.G - q.B - q.S - q.H
    if idle <= 0 then
        return
    end
    local back = idle
    if how ~= ALL then
        local needed = needed_until(at, q)
        local D = needed and needed + (how == STILL and 0 or least)
        back = how == STILL and spare(q, at, idle, needed) or 0
        if D and D < q.D then
            back = math.max(back, 1)
            q.D, lowered[i] = D, D
        end
    end
    q.B = q.B + back
    q.W = math.max(q.W - back, 0)
end)
flush()
keep_filled(filled)
local out, at = {'OK'}, 8
for i = 1, count do
    local t = KEYS[2 * ARGV[at]]
    out[#out + 1] = took[i]
    out[#out + 1] = lowered[i] or 0
    push(out, t, ARGV[at + 1], after[t][ARGV[at + 1]])
    at = at + 4 + TOTALS
end
return out
