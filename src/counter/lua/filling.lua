-- What fill and recall share: totals that may create quotas.
--
-- c:<tenant>, a hash, says with which lease each quota of t was filled last. So a quota that was
-- never filled is told from one that is gone. A new quota is counted in the field q of t, by which
-- check.lua notices that c is gone; the tenant enters x, by which check.lua finds it. Where c has
-- less than q says, or a tenant of x has neither t nor c, nobody knows what was never filled:
-- nothing is created there before clean.lua.
--
-- fill_all(at, count, more, then_do)  per totals: index of the tenant, totals, so many arguments
--               more; then_do(t, q, at, i) for those that were taken. Returns took per totals, what
--               keep_filled is to write, and the leases of c afterwards by t and field
-- keep_filled(filled)  after flush
-- check_whole(t, c)  ends the script where something was filled that neither has any more
-- withhold(q, t, over)  what is lent beyond the cap is admitted to nobody until it is given back;
--               over is as the database saw it with t.B returned

-- luacheck: push ignore 211
-- luacheck: read globals call base load of_tenant totals TOTALS raise lease_floor LEASE_IDS
-- A quota, all zero, in place of what load gave.
local function create(t, field)
    local q = {H = 0, L = 0, G = 0, B = 0, S = 0, D = 0, C = 0, Cv = 0, Cd = 0, W = 0, E = 0,
        fresh = true}
    of_tenant(t)[field] = q
    return q
end

local function withhold(q, t, over)
    q.W = math.max(over - math.max(q.B - t.B, 0), 0)
end

local function check_whole(t, c)
    local filled = call('HLEN', c)
    if (call('HGET', t, 'q') or 0) + 0 > filled or filled == 0 and call('EXISTS', t) == 0
        and call('ZSCORE', base .. 'x:' .. ARGV[4], t:match('%d+$')) then
        error({err = 'BADCOUNT ' .. t})
    end
end

-- 0 TAKEN | 1 VANISHED | 2 OLDER; was: the lease in c's entry, or false. Creates a quota that this
-- lease never filled, resets one of an earlier lease, of which it keeps only use of later entries;
-- a lease of an earlier epoch is OLDER: what this incarnation would call idle was promised to holds
-- that it may never have heard of.
local function fill(t, tenant, was)
    local q = load(tenant, t.field)
    local newest = q and q.L or was and was + 0 or -1
    if was and was + 0 > newest then
        newest = was + 0
    end
    if newest >= lease_floor + LEASE_IDS then -- of a later epoch: no script wrote it (clean.lua)
        error({err = 'BADLEASE ' .. newest})
    end
    if newest > t.L or t.L < lease_floor then
        return 2
    end
    if newest == t.L and not (q and q.L == t.L) then
        return 1
    end
    if newest < t.L then
        local before = q
        q = create(tenant, t.field)
        q.L = t.L
        if before and before.Cv > t.Cv then
            q.C, q.Cv, q.Cd, q.fresh = before.C, before.Cv, before.Cd, nil
        end
        if before and before.levels then -- counted anew: elsewhere it may have gone on another way
            q.levels = before.levels
            q.levels.lease, q.levels.n, q.levels.fresh = q.L, 0, true
        end
    end
    raise(t, q)
    return 0
end

local function fill_all(at, count, more, then_do)
    local took, filled, after = {}, {}, {}
    for i = 1, count do
        local key = 2 * ARGV[at]
        local tenant, given = KEYS[key], totals(at + 1)
        local leases = after[tenant] or {}
        after[tenant] = leases
        local was = leases[given.field]
        if was == nil then
            was = call('HGET', KEYS[key + 1], given.field)
        end
        local had = load(tenant, given.field)
        if not had and not was and not filled[tenant] then
            check_whole(tenant, KEYS[key + 1])
        end
        took[i] = fill(given, tenant, was)
        if took[i] == 0 then
            then_do(given, load(tenant, given.field), at, i)
            if not (was and was + 0 == given.L) then
                was = given.L
                local of = filled[tenant] or {c = KEYS[key + 1], set = {}, new = 0}
                of.set[#of.set + 1], of.set[#of.set + 2] = given.field, ('%d'):format(was)
                of.new = of.new + (had and 0 or 1)
                filled[tenant] = of
            end
        end
        leases[given.field] = was
        at = at + 1 + TOTALS + more
    end
    return took, filled, after
end

local function keep_filled(filled)
    for t, of in pairs(filled) do
        call('HSET', of.c, unpack(of.set))
        if of.new > 0 then
            call('HINCRBY', t, 'q', of.new)
            call('ZADD', base .. 'x:' .. ARGV[4], 'NX', 'inf', t:match('%d+$'))
        end
    end
end
-- luacheck: pop
