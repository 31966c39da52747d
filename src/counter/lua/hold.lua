-- Holds of jobs: the entry's text (quota/hold.h) and what goes when it goes.
--
--   epoch:seq:deadline:created|scope|mode|meters|meter:limit:period:lease:units:projected;...
--
-- An entry may name quotas that the caller did not know of, so their t keys are built from it: same
-- hash tag, same slot, the one exception to "every key is in KEYS".

-- luacheck: push ignore 211
-- luacheck: read globals load
local key_head = KEYS[1]:sub(1, -2) .. 't:'
local quotas = {} -- tenant -> "limit:period" -> quota, or false
local below_zero = {} -- names of keys whose H would have become negative; a bug somewhere

local function attempt_of(entry)
    local epoch, seq, deadline, created = entry:match('^(%d+):(%d+):(%d+):(%d+)|')
    return epoch .. '.' .. seq, deadline + 0, created + 0
end

local function next_quota(entry, at)
    local field, lease, units, behind =
        entry:match('^[|;]%d+:(%d+:%d+):(%d+):(%d+):?%d*()', at)
    return behind, field, lease, units
end

-- Iterates over what follows the fourth bar: where it goes on, then limit:period, lease, units as
-- texts.
local function quotas_of(entry)
    local at = 0
    for _ = 1, 4 do
        at = entry:find('|', at + 1, true)
    end
    return next_quota, entry, at
end

-- Takes the entry's units out of H of every quota whose lease still is the hold's.
local function give_back(tenant, entry)
    local known = quotas[tenant]
    if not known then
        known = {}
        quotas[tenant] = known
    end
    for _, field, lease, units in quotas_of(entry) do
        local q = known[field]
        if q == nil then
            q = load(key_head .. tenant .. ':' .. field)
            known[field] = q
        end
        if q and q.lease == lease then
            q.H = q.H - units
            if q.H < 0 then
                q.H = 0
                below_zero[#below_zero + 1] = key_head .. tenant .. ':' .. field
            end
        end
    end
end
-- luacheck: pop
