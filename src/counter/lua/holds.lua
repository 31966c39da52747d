#!lua flags=no-writes
-- holds: a page of a tenant's holds, soonest deadline first, equal deadlines by job in byte order.
--
-- KEYS  1 a   2 t
-- ARGV  1-4 guard   5 now   6 most answers   7 deadline of the cursor ("-1": from the start)
--       8 job of the cursor; the page begins strictly after (deadline, job)   9 tenant
-- result "OK", count of all, count of due ones, then "tenant=job" and entry of each

-- luacheck: read globals call shown base amount PLACES place_of deadline_of leaf_name index_after
local t, tenant, max = KEYS[2], ARGV[9], amount(ARGV[6])
local after = tenant .. '=' .. ARGV[8]
local own = call('HMGET', t, 'x', 'q', 'v')
local x = own[1]

-- Lua's own < on strings follows the locale of the process.
local function before(a, b)
    for i = 1, math.min(#a, #b) do
        local x1, x2 = a:byte(i), b:byte(i)
        if x1 ~= x2 then
            return x1 < x2
        end
    end
    return #a < #b
end

local function count_upto(now)
    local count = 0
    local leaves = x and call('ZRANGEBYSCORE', base .. 'i:' .. tenant, '-inf',
        place_of(now, PLACES - 1)) or {'0'}
    for l = 1, #leaves do
        local leaf = leaf_name(tenant, leaves[l])
        count = count + (l < #leaves and call('ZCARD', leaf)
            or call('ZCOUNT', leaf, '-inf', place_of(now, PLACES - 1)))
    end
    return count
end

local total = call('HLEN', t) - (own[2] or 0) - (x and 1 or 0) - (own[2] and 1 or 0)
    - (own[3] and 1 or 0)
local out = {'OK', total, count_upto(amount(ARGV[5]))}
if max == 0 then
    return out
end

-- Whole deadlines are read, since within one the index is in another order than by job.
local found, same, last = {}, {}, nil
local function take_same()
    table.sort(same, before)
    for i = 1, #same do
        if #found < max and (last ~= ARGV[7] or before(after, same[i])) then
            found[#found + 1] = same[i]
        end
    end
    same = {}
end
index_after(tenant, x, ARGV[7] == '-1' and 0 or place_of(ARGV[7], 0), function(job, place)
    local deadline = ('%d'):format(deadline_of(place))
    if deadline ~= last then
        take_same()
        last = deadline
    end
    same[#same + 1] = job
    return #found < max
end)
take_same()
local entries = #found > 0 and call('HMGET', t, unpack(found)) or {}
for i = 1, #found do
    if entries[i] then
        out[#out + 1], out[#out + 2] = found[i], shown(entries[i])
    end
end
return out
