-- What a quota row's totals do to a key. G, B, S and D only rise, so duplicates and reordering
-- cannot hurt; C and Cd are replaced only by a larger Cv; H never comes from the database.
--
-- totals(at)    the nine arguments from ARGV[at]: "limit:period" L G B S D C Cv Cd
-- raise(t, q)   G B S D by max if the lease is the key's own; C, Cv and Cd whatever the lease is
-- withhold(q, t, over)  what is lent beyond the cap is admitted to nobody until it is given back;
--               over is as the database saw it with t.B returned
-- fill(t, name, was)  0 TAKEN | 1 VANISHED | 2 OLDER; was: the lease in c's entry, or false
--               creates a key that this lease never filled, resets one of an earlier lease; a
--               lease of an earlier epoch is OLDER: what this incarnation would call idle was
--               promised to holds that it may never have heard of

-- luacheck: push ignore 211
-- luacheck: read globals amount load create lease_floor
local function totals(at)
    return {field = ARGV[at], L = amount(ARGV[at + 1]), G = amount(ARGV[at + 2]),
        B = amount(ARGV[at + 3]), S = amount(ARGV[at + 4]), D = amount(ARGV[at + 5]),
        C = amount(ARGV[at + 6]), Cv = amount(ARGV[at + 7]),
        Cd = amount(ARGV[at + 8])}
end

local function raise(t, q)
    if q.L == t.L then
        q.G, q.B = math.max(q.G, t.G), math.max(q.B, t.B)
        q.S, q.D = math.max(q.S, t.S), math.max(q.D, t.D)
    end
    if t.Cv > q.Cv then
        q.C, q.Cv, q.Cd = t.C, t.Cv, t.Cd
    end
end

local function withhold(q, t, over)
    q.W = math.max(over - math.max(q.B - t.B, 0), 0)
end

local function fill(t, name, was)
    local q = load(name)
    local newest = q and q.L or was and was + 0 or -1
    if was and was + 0 > newest then
        newest = was + 0
    end
    if newest > t.L or t.L < lease_floor then
        return 2
    end
    if newest == t.L and not (q and q.L == t.L) then
        return 1
    end
    if newest < t.L then
        local before = q
        q = create(name)
        q.L = t.L
        if before then
            q.C, q.Cv, q.Cd = before.C, before.Cv, before.Cd
        end
    end
    raise(t, q)
    return 0
end
-- luacheck: pop
