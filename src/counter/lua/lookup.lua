#!lua flags=no-writes
-- lookup: what jobs of a tenant hold now.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then "tenant=job" of each
-- result "OK", per job its entry, or nil, then 1 if nil says nothing, else 0: t was lost (c has
--        more quotas), or the job's hold (the index names it)

-- luacheck: read globals call shown base
local LOOKS_MAX = 512 -- beyond that, nobody looks for a hold that was lost singly

-- Which of the jobs, all of one tenant, the index (index.lua) names.
local function indexed_of(jobs)
    local tenant, named = jobs[1]:match('^(%d+)='), {}
    local name, leaves = base .. 'd:' .. tenant .. ':', {'0'}
    if call('HEXISTS', KEYS[2], 'x') == 1 then
        leaves = call('ZRANGE', base .. 'i:' .. tenant, 0, LOOKS_MAX)
    end
    for l = 1, #leaves * #jobs <= LOOKS_MAX and #leaves or 0 do
        for i = 1, #jobs do
            named[jobs[i]] = named[jobs[i]] or call('ZSCORE', name .. leaves[l], jobs[i])
        end
    end
    return named
end

local entries, absent = call('HMGET', KEYS[2], unpack(ARGV, 5)), {}
for i = 1, #entries do
    if not entries[i] then
        absent[#absent + 1] = ARGV[4 + i]
    end
end
local all_lost = #absent > 0
    and call('HLEN', KEYS[3]) > (call('HGET', KEYS[2], 'q') or 0) + 0
local named = #absent > 0 and not all_lost and indexed_of(absent) or {}
local out = {'OK'}
for i = 1, #entries do
    out[2 * i] = shown(entries[i])
    out[2 * i + 1] = not entries[i] and (all_lost or named[ARGV[4 + i]]) and 1 or 0
end
return out
