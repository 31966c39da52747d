-- Holds of jobs: the entry's text (quota/hold.h) and what goes when it goes.
--
--   epoch:seq:deadline:created|scope|mode|meters|meter:limit:period:lease:units:projected;...
--
-- An entry may name quotas that the caller did not know of, so their t keys are built from it: same
-- hash tag, same slot, the one exception to "every key is in KEYS".

-- luacheck: push ignore 211
-- luacheck: read globals load dirty
local key_head = KEYS[1]:sub(1, -2) .. 't:'
local key_of = {} -- tenant -> "limit:period" -> name
local below_zero = {} -- names of keys whose H would have become negative; a bug somewhere

local function attempt_of(entry)
    local epoch, seq, deadline, created = entry:match('^(%d+):(%d+):(%d+):(%d+)|')
    return epoch .. '.' .. seq, deadline + 0, created + 0
end

-- Iterates: limit:period, lease, units as texts.
local function quotas_of(entry)
    return entry:match('|([%d:;]*)$'):gmatch('%d+:(%d+:%d+):(%d+):(%d+)')
end

-- Takes the entry's units out of H of every quota whose lease still is the hold's.
local function give_back(tenant, entry)
    local names = key_of[tenant]
    if not names then
        names = {}
        key_of[tenant] = names
    end
    for field, lease, units in quotas_of(entry) do
        local name = names[field]
        if not name then
            name = key_head .. tenant .. ':' .. field
            names[field] = name
        end
        local q = load(name)
        if q and q.L == lease + 0 then
            q.H = q.H - units
            if q.H < 0 then
                q.H = 0
                below_zero[#below_zero + 1] = name
            end
            dirty(name)
        end
    end
end
-- luacheck: pop
