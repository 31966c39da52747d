-- What is in the index (index.lua).
--
-- index_upto(tenant, x, place, max)         members and places up to there, in order
-- index_after(tenant, x, place, each)       each member from there on, in order
-- index_count(tenant, x)                    how many members
-- drop_index(tenant, x)                     x is to be deleted, too

-- luacheck: push ignore 211
-- luacheck: read globals call base leaf_name read_x
local LOST_LEAVES = 4096
local NAMES_AT_ONCE = 512

local function index_upto(tenant, x, place, max)
    local members, places = {}, {}
    local leaves = x and call('ZRANGEBYSCORE', base .. 'i:' .. tenant, '-inf', place,
        'LIMIT', 0, max + 1) or {'0'}
    for l = 1, #leaves do
        local some = call('ZRANGEBYSCORE', leaf_name(tenant, leaves[l]), '-inf', place,
            'WITHSCORES', 'LIMIT', 0, max - #members)
        for i = 1, #some, 2 do
            members[#members + 1], places[#places + 1] = some[i], some[i + 1]
        end
        if #members >= max then
            break
        end
    end
    return members, places
end

-- Calls each(member, place) from that place on until it returns false.
local function index_after(tenant, x, place, each)
    local leaves = {'0'}
    if x then
        local directory = base .. 'i:' .. tenant
        leaves = call('ZREVRANGEBYSCORE', directory, place, '-inf', 'LIMIT', 0, 1)
        local later = call('ZRANGEBYSCORE', directory, '(' .. place, '+inf')
        for i = 1, #later do
            leaves[#leaves + 1] = later[i]
        end
    end
    for l = 1, #leaves do
        local some = call('ZRANGEBYSCORE', leaf_name(tenant, leaves[l]), place, '+inf',
            'WITHSCORES')
        for i = 1, #some, 2 do
            if not each(some[i], some[i + 1]) then
                return
            end
        end
    end
end

local function index_count(tenant, x)
    local count = 0
    for _, leaf in ipairs(x and call('ZRANGE', base .. 'i:' .. tenant, 0, -1) or {'0'}) do
        count = count + call('ZCARD', leaf_name(tenant, leaf))
    end
    return count
end

-- All of the index goes, but the field x. Where the list of leaves is lost, the newest of them do.
local function drop_index(tenant, x)
    local newest = read_x(x)
    local leaves, names = call('ZRANGE', base .. 'i:' .. tenant, 0, -1), {base .. 'i:' .. tenant}
    if not leaves[1] then
        for leaf = math.max(newest - LOST_LEAVES, 0), newest do
            leaves[#leaves + 1] = ('%d'):format(leaf)
        end
    end
    for l = 1, #leaves do
        names[#names + 1] = leaf_name(tenant, leaves[l])
        if #names == NAMES_AT_ONCE or l == #leaves then
            call('UNLINK', unpack(names))
            names = {}
        end
    end
end
-- luacheck: pop
