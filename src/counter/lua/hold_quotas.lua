-- The quotas of a hold, one after the other (hold.lua).
--
-- for behind, field, lease, units in quotas_of(entry)   lease is a number; of a readable one
-- readable(entry)   does it name its quotas and units, all of them?
-- add_held(sums, entry)   its units to sums, by "field lease"; of a readable one

-- luacheck: push ignore 211
-- luacheck: read globals MORE first_lease_of byte BAR
local function next_quota(state, at)
    local field, lease, units, behind = state[1]:match(MORE, at)
    if field then
        return behind, field, state[2] + lease, units
    end
end

local function quotas_of(entry)
    local epoch, at = entry:match('^(%d+):%d+:%d+:%d+()')
    return next_quota, {entry, first_lease_of(epoch)}, at
end

local function add_held(sums, entry)
    for _, field, lease, units in quotas_of(entry) do
        local name = field .. ' ' .. lease
        sums[name] = (sums[name] or 0) + units
    end
end

local function readable(entry)
    local at = entry:match('^%d+:%d+:%d+:%d+()')
    while at and byte(entry, at) ~= BAR do
        at = entry:match('^;%d+:%d+:%w+:%d+:%d+[%w:._-]*()', at)
    end
    return at ~= nil
end
-- luacheck: pop
