-- The ends of the index (index.lua).
--
-- index_first(tenant, x), index_last        the earliest or latest place, or nil
-- deadline_of(place)

-- luacheck: push ignore 211
-- luacheck: read globals call base leaf_name PLACES
local function index_first(tenant, x)
    if not x then
        return call('ZRANGE', leaf_name(tenant, '0'), 0, 0, 'WITHSCORES')[2]
    end
    for _, leaf in ipairs(call('ZRANGE', base .. 'i:' .. tenant, 0, 1)) do
        local first = call('ZRANGE', leaf_name(tenant, leaf), 0, 0, 'WITHSCORES')[2]
        if first then
            return first
        end
    end
end

local function index_last(tenant, x)
    if not x then
        return call('ZRANGE', leaf_name(tenant, '0'), -1, -1, 'WITHSCORES')[2]
    end
    for _, leaf in ipairs(call('ZREVRANGE', base .. 'i:' .. tenant, 0, 1)) do
        local last = call('ZRANGE', leaf_name(tenant, leaf), -1, -1, 'WITHSCORES')[2]
        if last then
            return last
        end
    end
end

local function deadline_of(place)
    return math.floor(place / PLACES)
end
-- luacheck: pop
