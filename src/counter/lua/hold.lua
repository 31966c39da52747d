-- Holds of jobs: a hold is the field "tenant=job" of its tenant's hash t, with the text
--
--   epoch:seq:place:age;meter:limit:period:lease:units;...|scope|mode|meters
--
-- with ":projected:soft:amount:cap:name:scope" behind the units of a quota that warned when the
-- hold was made.
--
-- That is the text of quota/hold.h, shorter and in another order: place is where the hold stands in
-- the index and has its deadline (index.lua), age is deadline - created, lease is counted from the
-- first of the hold's epoch, and limit:period is the field of the quota. counter/packed.h makes the
-- long one of it.

-- luacheck: push ignore 211
-- luacheck: read globals match load loaded of_tenant PLACES LEASE_IDS
local byte, SEMICOLON = string.byte, 59
local BAR = 124
local below_zero = {} -- quotas whose H would have become negative; a bug somewhere

-- "epoch.seq", place, deadline, created. A text without them has no attempt and counts as
-- long due, so that the reap finds it (discard.lua).
local function attempt_of(entry)
    local epoch, seq, place, age = entry:match('^(%d+):(%d+):(%d+):(%d+)')
    if not epoch then
        return '', '0', 0, 0
    end
    local deadline = math.floor(place / PLACES)
    return epoch .. '.' .. seq, place, deadline, deadline - age
end

local HOLD = '^(%d+):%d+:(%d+):%d+;%d+:(%d+:%w+):(%d+):(%d+)[%w:._-]*()'
local MORE = '^;%d+:(%d+:%w+):(%d+):(%d+)[%w:._-]*()'
local first_leases = {} -- epoch -> what its leases are counted from

local function first_lease_of(epoch)
    local first = first_leases[epoch]
    if not first then
        first = epoch * LEASE_IDS
        first_leases[epoch] = first
    end
    return first
end

-- Puts back what give_back took before it came to what it could not read.
local function take_back(t, entry)
    local epoch, _, field, lease, units, at = match(entry, HOLD)
    while field do
        local q = load(t, field)
        if q and q.L == first_lease_of(epoch) + lease then
            q.H = q.H + units
        end
        field, lease, units, at = match(entry, MORE, at)
    end
end

-- Takes the entry's units out of H of every quota whose lease still is the hold's; returns its
-- place, or nil if it cannot be read: then nothing is taken, and it stays until discard.lua. A
-- commit does this for every hold, so it calls little.
local function give_back(t, entry)
    local epoch, place, field, lease, units, at = match(entry, HOLD)
    if not epoch then
        return entry:match('^%d+:%d+:(%d+):%d+|') -- no quotas
    end
    local known, first = loaded[t] or of_tenant(t), first_leases[epoch] or first_lease_of(epoch)
    while field do
        local q = known[field]
        if q == nil then
            q = load(t, field)
        end
        if q and q.L == first + lease then
            q.H = q.H - units
            if q.H < 0 then
                q.H = 0
                below_zero[#below_zero + 1] = t .. ' ' .. field
            end
        end
        if byte(entry, at) ~= SEMICOLON then
            if byte(entry, at) == BAR then
                return place
            end
            break
        end
        field, lease, units, at = match(entry, MORE, at)
    end
    take_back(t, entry)
    return nil
end
-- luacheck: pop
