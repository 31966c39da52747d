-- Which holds of a tenant end when: an index over the holds in t, and only that. What it says is
-- looked up in t before anything is done, and it can be built anew from t (rebuild.lua).
--
--   d:<tenant>:<n>   zset  a leaf: names of holds by place; leaves follow each other
--   i:<tenant>       zset  leaf n by the least place that belongs to it
--   field x of t     "newest leaf:last leaf:least place of the last"
--
-- A tenant of few holds has leaf 0, and neither i nor x.
--
-- A place is deadline * PLACES + seq % PLACES: holds that end in one millisecond have places of
-- their own, so a leaf can be cut anywhere. A leaf has at most LEAF members, which Redis keeps as
-- one list of bytes (zset-max-listpack-entries 33 or more): a member takes a third of the room that
-- it takes in a large zset.
--
-- Places stand in texts of holds and here as they are written; functions take and give them so.
--
-- place_of(deadline, seq)                   a number
-- index_remove(tenant, x, places, members)  returns false: x is to be deleted
-- index_add, and what reads the index: index_add.lua, index_ends.lua, index_read.lua

-- luacheck: push ignore 211
-- luacheck: read globals call base PLACES
local LEAF = 33
local LEAF_CHARS = 15
local LEAVES_AT_ONCE = 8 -- holds that end together are mostly of few

local function place_of(deadline, seq)
    return deadline * PLACES + seq % PLACES
end

local function leaf_name(tenant, leaf)
    return base .. 'd:' .. tenant .. ':' .. leaf
end

-- Newest leaf, last leaf, least place of the last. A leaf that nobody could count up to ends the
-- script: clean.lua takes such an x for none.
local function read_x(x)
    local newest, last, from = (x or '0:0:0'):match('^(%d+):(%d+):(%d+)$')
    if not newest or #newest > LEAF_CHARS then
        error({err = 'BADX ' .. x})
    end
    return newest + 0, last, from + 0
end

-- Puts places and their members into ascending order, in which they often are; returns the places
-- as numbers, which may be given.
local function ascend(places, members, given)
    local numbers, count, rising, before = given or {}, #places, true, 0
    for i = 1, count do
        local number = given and given[i] or places[i] + 0
        numbers[i], rising, before = number, rising and before <= number, number
    end
    if rising then
        return numbers
    end
    local at, behind, texts, names = {}, {}, {}, {} -- where a number is first, and where again
    for i = count, 1, -1 do
        local number = numbers[i]
        at[number], behind[i] = i, at[number]
        texts[i], names[i] = places[i], members[i]
    end
    table.sort(numbers)
    for i = 1, count do
        local number = numbers[i]
        local from = at[number]
        at[number], places[i], members[i] = behind[from], texts[from], names[from]
    end
    return numbers
end

-- Last of numbers[from..] that is smaller than the bound.
local function run_end(numbers, from, bound)
    local to, count = from, #numbers
    if not bound then
        return count
    end
    while to < count and numbers[to + 1] < bound do
        to = to + 1
    end
    return to
end

-- The leaf to which a place belongs and its least place, then as many as asked for behind it.
local function leaves_from(directory, place, more)
    local leaves = call('ZREVRANGEBYSCORE', directory, place, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    local later = call('ZRANGEBYSCORE', directory, '(' .. place, '+inf', 'WITHSCORES',
        'LIMIT', 0, more)
    leaves[1] = leaves[1] or false
    for i = 1, #later do
        leaves[2 + i] = later[i]
    end
    return leaves
end

local function index_remove(tenant, x, places, members)
    if not x then
        call('ZREM', leaf_name(tenant, '0'), unpack(members))
        return true
    end
    local numbers = ascend(places, members)
    local directory = base .. 'i:' .. tenant
    local _, last, last_from = read_x(x)
    local near, at = {}, 1 -- leaves, and which of them is at hand
    local names, leaves, n = {}, {}, 0 -- that lost members
    local i, count = 1, #numbers
    while i <= count do
        local leaf, bound, number = last, nil, numbers[i]
        if number < last_from then
            while near[at + 3] and number >= near[at + 3] + 0 do
                at = at + 2
            end
            if not near[at + 3] then
                near, at = leaves_from(directory, places[i], LEAVES_AT_ONCE), 1
            end
            leaf, bound = near[at], (near[at + 3] or last_from) + 0
        end
        local to = run_end(numbers, i, bound)
        if leaf then
            n = n + 1
            leaves[n], names[n] = leaf, leaf_name(tenant, leaf)
            call('ZREM', names[n], unpack(members, i, to))
        end
        i = to + 1
    end
    if n == 0 or call('EXISTS', unpack(names)) == n then
        return true
    end
    for l = 1, n do
        if leaves[l] ~= last and call('EXISTS', names[l]) == 0 then
            call('ZREM', directory, leaves[l])
        end
    end
    if call('ZCARD', directory) <= 1 and call('EXISTS', leaf_name(tenant, last)) == 0 then
        call('DEL', directory)
        return false
    end
    return true
end
-- luacheck: pop
