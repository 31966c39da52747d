#!lua flags=allow-oom
-- crossed: some of the tag's quotas that have crossings to be told (levels.lua), of all its shards.
--
-- KEYS  1 a
-- ARGV  1-4 guard   5 most quotas
-- result "OK", per quota: tenant, its shard, "limit:period", what is pending

-- luacheck: read globals call base
local ENTRY = '^%d+:%d+:[0-7]:%d+:%d+:%d+:%d+:%d+:%d+:%d+$'
local out, p = {'OK'}, base .. 'p'
local some = call('HRANDFIELD', p, ARGV[5], 'WITHVALUES')
local names, shards = {}, {}
for i = 1, #some, 2 do
    names[#names + 1], shards[some[i]] = some[i], some[i + 1]
end
table.sort(names) -- an answer does not depend on chance unless there are too many
for i = 1, #names do
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
