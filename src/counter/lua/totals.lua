-- What a quota row's totals do to a quota. G, B, S and E only rise, so duplicates and reordering
-- cannot hurt; C and Cd are replaced only by a larger Cv; H never comes from the database. D falls
-- only in recall.lua, together with a rise of B, so totals with a smaller B may have the D of
-- before, and say nothing about it.
--
-- totals(at, numbers)  the ten arguments "limit:period" L G B S D C Cv Cd E; the first is ARGV[at],
--               the others begin at numbers, or follow it
-- raise(t, q)   G B S by max if the lease is the quota's own, D likewise unless t is of before a
--               recall that lowered D; C, Cv, Cd and E whatever the lease

-- luacheck: push ignore 211
-- luacheck: read globals amount
local TOTALS = 10

local function totals(at, numbers)
    local n = numbers or at + 1
    return {field = ARGV[at], L = amount(ARGV[n]), G = amount(ARGV[n + 1]),
        B = amount(ARGV[n + 2]), S = amount(ARGV[n + 3]), D = amount(ARGV[n + 4]),
        C = amount(ARGV[n + 5]), Cv = amount(ARGV[n + 6]),
        Cd = amount(ARGV[n + 7]), E = amount(ARGV[n + 8])}
end

local function raise(t, q)
    if q.L == t.L then
        local G, B, S, D = t.G, t.B, t.S, t.D
        q.D = q.D < D and q.B <= B and D or q.D
        q.G, q.B = q.G < G and G or q.G, q.B < B and B or q.B
        q.S = q.S < S and S or q.S
    end
    if t.Cv > q.Cv or q.fresh then
        q.C, q.Cv, q.Cd = t.C, t.Cv, t.Cd
        q.fresh = nil
    end
    q.E = q.E < t.E and t.E or q.E
end
-- luacheck: pop
