#!lua flags=no-writes
-- lookup: what jobs of a tenant hold now.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then "tenant=job" of each
-- result "OK", 1 if t was lost (c has more quotas) or a job's hold (the index names it), so nil
--        says nothing, else 0; per job its entry, or nil

-- luacheck: read globals call shown base
local LOOKS_MAX = 512 -- beyond that, nobody looks for a hold that was lost singly

-- The index (index.lua) names one of the jobs, all of one tenant.
local function is_indexed(jobs)
    local tenant = jobs[1]:match('^(%d+)=')
    local name, leaves = base .. 'd:' .. tenant .. ':', {'0'}
    if call('HEXISTS', KEYS[2], 'x') == 1 then
        leaves = call('ZRANGE', base .. 'i:' .. tenant, 0, LOOKS_MAX)
    end
    for l = 1, #leaves * #jobs <= LOOKS_MAX and #leaves or 0 do
        for i = 1, #jobs do
            if call('ZSCORE', name .. leaves[l], jobs[i]) then
                return true
            end
        end
    end
    return false
end

local out = call('HMGET', KEYS[2], unpack(ARGV, 5))
local absent = {}
for i = 1, #out do
    if not out[i] then
        absent[#absent + 1] = ARGV[4 + i]
    end
    out[i] = shown(out[i])
end
local lost = #absent > 0 and (call('HLEN', KEYS[3]) > (call('HGET', KEYS[2], 'q') or 0) + 0
    or is_indexed(absent))
table.insert(out, 1, 'OK')
table.insert(out, 2, lost and 1 or 0)
return out
