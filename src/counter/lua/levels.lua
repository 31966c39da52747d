-- Crossings of what is reserved, of quotas whose limit wants them told: the level with its
-- hysteresis stands behind the quota's numbers (quota.lua) and a blank, as
--
--   |soft amount cap level lease n shard;lease:n:level:soft:amount:cap:C:Cv:Cd:H;...
--
-- Reserved is C + H: committed, debt, and the holds that Redis has under the quota's lease. level
-- has the bits of quota/threshold.h. Whenever it changes, n is counted, and level and numbers are
-- added to what is to be told (pending), under the lease that the count began with. told.lua takes
-- away what the database has. If too much is pending, the last takes the place of the one before
-- it; n shows it. A level that was begun anew is told once whatever it is, because the database may
-- think otherwise.
--
-- The hash p of the tag has a field "tenant limit:period" for each quota with something pending,
-- and its shard. It finds them (crossed.lua); the next change brings back a field that was lost.
--
-- levels()  makes these; one function here, because each costs every script that has it
--   of(tail)              the numbers; of a new one they are the caller's, and fresh
--   cross(l, H, C, Cv, Cd)  after a change of these, or of stops
--   text(l)               the tail
--   note(tenant, field, l)  if something is pending; keep() writes that down

-- luacheck: push ignore 211
-- luacheck: read globals call base AMOUNT_MAX
local REACHED_MAX = 8 -- REACHED_MAX, quota/reserved.h
local function levels_make()
    local TAIL = '^|(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)(.*)$'
    local ENTRY = ';%d:%d:%d:%d:%d:%d:%d:%d:%d:%d'
    local noted = {}

    local function passed(l, bit, stop, use)
        if stop >= AMOUNT_MAX then
            return 0
        end
        local back = math.floor(l.amount / 50) -- 2 %, as in quota/threshold.c
        local was = l.level % (2 * bit) >= bit
        return (use >= stop or was and use >= math.max(stop - back, 1)) and bit or 0
    end

    return {
        of = function(tail)
            local soft, amount, cap, level, lease, n, shard, pending = tail:match(TAIL)
            return {soft = soft + 0, amount = amount + 0, cap = cap + 0, level = level + 0,
                lease = lease + 0, n = n + 0, shard = shard, pending = pending}
        end,
        cross = function(l, H, C, Cv, Cd)
            local use = C + H
            local level = passed(l, 1, l.soft, use) + passed(l, 2, l.amount, use)
                + passed(l, 4, l.cap, use)
            if level == l.level and not l.fresh then
                return
            end
            l.level, l.n, l.fresh = level, l.n + 1, nil
            local _, count = l.pending:gsub(';', ';')
            if count >= REACHED_MAX then
                l.pending = l.pending:match('^(.*);')
            end
            l.pending = l.pending .. ENTRY:format(l.lease, l.n, level, l.soft, l.amount, l.cap, C,
                Cv, Cd, H)
        end,
        text = function(l)
            return ('|%d %d %d %d %d %d '):format(l.soft, l.amount, l.cap, l.level, l.lease, l.n)
                .. l.shard .. l.pending
        end,
        note = function(tenant, field, l)
            if l.pending ~= '' then
                noted[#noted + 1], noted[#noted + 2] = tenant .. ' ' .. field, l.shard
            end
        end,
        keep = function()
            if noted[1] then
                call('HSET', base .. 'p', unpack(noted))
                noted = {}
            end
        end,
    }
end
local levels_made

local function levels()
    levels_made = levels_made or levels_make()
    return levels_made
end
-- luacheck: pop
