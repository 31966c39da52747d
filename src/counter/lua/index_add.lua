-- Into the index (index.lua).
--
-- index_add(tenant, x, places, members, numbers)  returns the x to write, or nil: none; numbers are
--                                           the places, if the caller has them

-- luacheck: push ignore 211
-- luacheck: read globals call base LEAF leaf_name leaves_from read_x run_end ascend
local CUT = 1000

-- The largest first: Redis looks for a member's place from the smallest on.
local function zadd(leaf, places, members, from, to)
    local add, n = {'ZADD', leaf}, 2
    for i = to, from, -1 do
        add[n + 1], add[n + 2] = places[i], members[i]
        n = n + 2
    end
    call(unpack(add))
end

-- Another leaf of the tenant that has this one.
local function leaf_name_of(name, leaf)
    return name:match('^.*:') .. leaf
end

-- The leaf to which a place belongs, and where the next one begins (nil: the last). A place before
-- all leaves has none.
local function leaf_at(directory, last, last_from, place, number)
    if number >= last_from then
        return last, nil
    end
    local near = leaves_from(directory, place, 1)
    return near[1], (near[4] or last_from) + 0
end

local function place_at(name, rank)
    return call('ZRANGE', name, rank, rank, 'WITHSCORES')[2]
end

-- The upper half of a full leaf becomes one of its own; its least place, or nil: it cannot be cut.
-- All of one place stay together: a place is in one leaf.
local function cut(directory, name, half)
    local first, middle = place_at(name, 0), place_at(name, math.floor(LEAF / 2))
    if first == place_at(name, -1) then
        return nil
    end
    local upper = call('ZRANGEBYSCORE', name, (first == middle and '(' or '') .. middle, '+inf',
        'WITHSCORES')
    local least, add, n = upper[2] + 0, {'ZADD', leaf_name_of(name, half)}, 2
    call('ZADD', directory, upper[2], half)
    for i = #upper, 2, -2 do
        add[n + 1], add[n + 2] = upper[i], upper[i - 1]
        n = n + 2
        if n > CUT or i == 2 then -- a place may have very many
            call(unpack(add, 1, n))
            n = 2
        end
    end
    call('ZREMRANGEBYSCORE', name, upper[2], '+inf')
    return least
end

local function index_add(tenant, x, places, members, numbers)
    local count, directory = #places, base .. 'i:' .. tenant
    local newest, last, last_from = read_x(x)
    if not x then
        local name = leaf_name(tenant, '0')
        if call('ZCARD', name) + count <= LEAF then
            zadd(name, places, members, 1, count)
            return nil
        end
        call('ZADD', directory, 0, '0')
    end
    numbers = ascend(places, members, numbers)
    local i, full = 1, false -- full: the last leaf is, and with smaller places than what follows
    while i <= count do
        local leaf, bound = leaf_at(directory, last, last_from, places[i], numbers[i])
        local name = leaf and leaf_name(tenant, leaf)
        local room = leaf and not full and LEAF - call('ZCARD', name) or 0
        local behind = false
        if room <= 0 then
            newest = newest + 1
            local fresh = ('%d'):format(newest)
            -- One of that name was left behind where the list of leaves, or x, was lost.
            call('UNLINK', leaf_name(tenant, fresh))
            behind = not leaf or full or not bound
                and call('ZRANGE', name, -1, -1, 'WITHSCORES')[2] + 0 < numbers[i]
            local least = not behind and cut(directory, name, fresh)
            if behind then
                call('ZADD', directory, places[i], fresh)
                name, room, least = leaf_name(tenant, fresh), LEAF, numbers[i]
            elseif not least then -- one place alone, or one that comes to it
                room = run_end(numbers, i, numbers[i] + 1) - i + 1
            end
            if least and not bound then
                last, last_from = fresh, least
            end
        end
        if room > 0 then
            local to = math.min(run_end(numbers, i, bound), i + room - 1)
            zadd(name, places, members, i, to)
            i = to + 1
            full = behind and not bound and to < count and numbers[to] < numbers[i]
        end
    end
    return ('%d:%s:%d'):format(newest, last, last_from)
end
-- luacheck: pop
