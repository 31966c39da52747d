-- Until when the quotas of a tenant are held.
--
-- ends_of(t, c, from)   the end of the longest live hold of each quota, by "field lease", and
--               `rest`: of those not named, none ends later than that. Holds that end before `from`
--               are not looked at. false: something of the tenant is lost, or it has so many holds
--               that nobody wants to look
--
-- Before anything of the tenant is written.

-- luacheck: push ignore 211
-- luacheck: read globals call base index_count leaf_name place_of deadline_of attempt_of quotas_of
-- luacheck: read globals readable
local HOLDS_MAX = 2048
local WALK_MAX = 256

-- All holds are there, in t and in the index: then what is not found is not held.
local function is_whole(t, c, tenant, own)
    local quotas = (own[1] or 0) + 0
    local holds = call('HLEN', t) - quotas
    for i = 1, 3 do
        holds = holds - (own[i] and 1 or 0)
    end
    return holds <= HOLDS_MAX and call('HLEN', c) == quotas
        and holds == index_count(tenant, own[2])
end

-- The longest first. A leaf that has none of them ends the walk, unless it is empty: the last one
-- stays when its holds have gone.
local function longest(tenant, x, from, each)
    local leaves = x and call('ZREVRANGE', base .. 'i:' .. tenant, 0, -1) or {'0'}
    local walked = 0
    for l = 1, #leaves do
        local leaf = leaf_name(tenant, leaves[l])
        local some = call('ZREVRANGEBYSCORE', leaf, '+inf', place_of(from, 0), 'LIMIT', 0,
            WALK_MAX - walked)
        walked = walked + #some
        if #some > 0 and not each(some) then
            return false
        end
        if walked >= WALK_MAX or #some == 0 and call('EXISTS', leaf) == 1 then
            return true
        end
    end
    return true
end

local function ends_of(t, c, from)
    local tenant, own = t:match('%d+$'), call('HMGET', t, 'q', 'x', 'v')
    if not is_whole(t, c, tenant, own) then
        return false
    end
    local ends, walked, least = {}, 0, from
    local read = longest(tenant, own[2], from, function(jobs)
        local texts = call('HMGET', t, unpack(jobs))
        for i = 1, #jobs do
            if not texts[i] or not readable(texts[i]) then
                return false
            end
            local _, _, deadline = attempt_of(texts[i])
            for _, field, lease in quotas_of(texts[i]) do
                local name = field .. ' ' .. lease
                ends[name] = math.max(ends[name] or 0, deadline)
            end
            walked, least = walked + 1, deadline
        end
        return true
    end)
    ends.rest = walked >= WALK_MAX and math.max(least, from) or from
    return read and ends
end
-- luacheck: pop
