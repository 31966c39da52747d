#!lua flags=no-writes
-- lookup: what jobs of a tenant hold now.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard, then "tenant=job" of each
-- result "OK", 1 if t was lost (c has more quotas) or a job's hold (the index names it), so nil
--        says nothing, else 0; per job its entry, or nil

-- luacheck: read globals call shown base
local LEAVES_MAX = 64 -- of a tenant with more nobody looks for a hold that was lost singly

-- The index (index.lua) names the job.
local function is_indexed(job)
    local tenant = job:match('^(%d+)=')
    local name, leaves = base .. 'd:' .. tenant .. ':', {'0'}
    if call('HEXISTS', KEYS[2], 'x') == 1 then
        leaves = call('ZRANGE', base .. 'i:' .. tenant, 0, LEAVES_MAX)
    end
    for l = 1, #leaves <= LEAVES_MAX and #leaves or 0 do
        if call('ZSCORE', name .. leaves[l], job) then
            return true
        end
    end
    return false
end

local out = call('HMGET', KEYS[2], unpack(ARGV, 5))
local found, lost = true, false
for i = 1, #out do
    found = found and out[i]
    lost = lost or not out[i] and is_indexed(ARGV[4 + i])
    out[i] = shown(out[i])
end
lost = lost or not found and call('HLEN', KEYS[3]) > (call('HGET', KEYS[2], 'q') or 0) + 0
table.insert(out, 1, 'OK')
table.insert(out, 2, lost and 1 or 0)
return out
