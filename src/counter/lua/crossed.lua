#!lua flags=allow-oom
-- crossed: a page of the tag's quotas that have crossings to be told (levels.lua), of all shards.
--
-- KEYS  1 a
-- ARGV  1-4 guard   5 most quotas   6 cursor, 7 name: where to go on; "0", "": from the start
-- result "OK", cursor and name of the next page ("0", "": there is none), per quota: tenant, its
--        shard, "limit:period", what is pending
--
-- A page that is larger than asked for (a small hash comes as a whole) is told in parts, by name.

-- luacheck: read globals call base
local ENTRY = '^%d+:%d+:[0-7]:%d+:%d+:%d+:%d+:%d+:%d+:%d+$'
local p = base .. 'p'
local page = call('HSCAN', p, ARGV[6], 'COUNT', ARGV[5])
local names, shards = {}, {}
for i = 1, #page[2], 2 do
    if page[2][i] > ARGV[7] then
        names[#names + 1], shards[page[2][i]] = page[2][i], page[2][i + 1]
    end
end
table.sort(names)
local most = tonumber(ARGV[5])
local out = {'OK', page[1], ''}
if #names > most then
    local last = most
    while last > 0 and not names[last]:find('^%d+ %d+:%d+m?$') do
        last = last - 1 -- it goes below
    end
    out[2], out[3] = ARGV[6], names[last] or ARGV[7]
end
for i = 1, math.min(#names, most) do
    local tenant, field = names[i]:match('^(%d+) (%d+:%d+m?)$')
    local shard = tenant and shards[names[i]]:match('^%d%d?%d?$')
    -- A t that cannot be read is for whoever needs it (clean.lua); what it has waits.
    local read, text = pcall(function()
        return shard and call('HGET', base .. 't:' .. tenant, field) or ''
    end)
    local pending = read and text:match('^[%d |]*;([%d:;]+)$')
    -- What a hand wrote is for clean.lua: it is no reason to tell nobody of the tag.
    for entry in (pending or ''):gmatch('[^;]*') do
        if entry ~= '' and not entry:find(ENTRY) then
            pending = nil
        end
    end
    if pending then
        out[#out + 1], out[#out + 2] = tenant, shard
        out[#out + 1], out[#out + 2] = field, pending
    elseif read then
        call('HDEL', p, names[i])
    end
end
return out
