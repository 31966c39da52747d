-- Quotas in memory: a quota is read once, changed here, and written by flush at the end.
--
-- A quota is a field of its tenant's hash t, named "limit:period" (see request_ref), with the text
--
--   H L G B S D C Cv Cd W E     numbers in decimal, one blank between them; its level may follow
--                               (levels.lua)
--
-- load(t, field)    the quota with numbers under these names; false: missing
-- prefetch(t, quotas, list, from, to)  reads many fields at once, quotas first; returns all texts
-- flush()           writes the quotas that have changed; nothing before it may have been written,
--                   and no quota changes after it
-- push(out, t, field, was)  after flush: appends the text, or nil and the lease that was filled
--                   with last

-- luacheck: push ignore 211
-- luacheck: read globals call levels levels_made
-- What is written out here is not put together anew in every script.
local QUOTA = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
local QUOTA_TEXT = '%d %d %d %d %d %d %d %d %d %d %d'
local loaded = {} -- t -> field -> quota, or false
local stored = {} -- t -> field -> text as Redis has it

local function of_tenant(t)
    local known = loaded[t]
    if not known then
        known = {}
        loaded[t], stored[t] = known, {}
    end
    return known
end

-- Never more is held, given back or spent than was granted: another text is a hand's (clean.lua).
local function parse(text)
    local H, L, G, B, S, D, C, Cv, Cd, W, E = text:match(QUOTA)
    local tail
    if not H then
        text, tail = text:match('^([%d ]+) (|.*)$')
        H, L, G, B, S, D, C, Cv, Cd, W, E = (text or ''):match(QUOTA)
    end
    local q = {H = H + 0, L = L + 0, G = G + 0, B = B + 0, S = S + 0, D = D + 0, C = C + 0,
        Cv = Cv + 0, Cd = Cd + 0, W = W + 0, E = E + 0}
    if q.H + q.B > q.G or q.S > q.G then
        error({err = 'BADQUOTA ' .. text})
    end
    q.levels = tail and levels().of(tail)
    return q
end

local function text_of(q)
    local text = QUOTA_TEXT:format(q.H, q.L, q.G, q.B, q.S, q.D, q.C, q.Cv, q.Cd, q.W, q.E)
    if q.levels then
        levels().cross(q.levels, q.H, q.C, q.Cv, q.Cd)
        text = text .. ' ' .. levels().text(q.levels)
    end
    return text
end

local function keep(t, field, text)
    loaded[t][field] = text and parse(text)
    stored[t][field] = text
end

local function load(t, field)
    local known = of_tenant(t)
    if known[field] == nil then
        keep(t, field, call('HGET', t, field))
    end
    return known[field]
end

-- The first `quotas` of the fields are quotas; what all of them hold is returned.
local function prefetch(t, quotas, list, from, to)
    of_tenant(t)
    local texts = call('HMGET', t, unpack(list, from, to))
    for i = 1, quotas do
        keep(t, list[from + i - 1], texts[i])
    end
    return texts
end

local function flush()
    for t, known in pairs(loaded) do
        local set, n, texts = {'HSET', t}, 2, stored[t]
        for field, q in pairs(known) do
            local text = q and text_of(q)
            if text and text ~= texts[field] then
                set[n + 1], set[n + 2] = field, text
                n = n + 2
                texts[field] = text
                if q.levels then
                    levels().note(t:match('%d+$'), field, q.levels)
                end
            end
        end
        if n > 2 then
            call(unpack(set))
        end
    end
    if levels_made then
        levels_made.keep()
    end
end

local function push(out, t, field, was)
    local o = #out
    if load(t, field) then
        out[o + 1] = stored[t][field]
    else
        out[o + 1], out[o + 2] = false, was or 0
    end
end
-- luacheck: pop
