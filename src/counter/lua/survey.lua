#!lua flags=no-writes
-- survey: all quotas of some of the shard's tenants, as they are.
--
-- KEYS  1 a
-- ARGV  1-4 guard   5 cursor ("0": from the start)   6 tenants of a page, about   7 quotas, about
--       8 tenants to go on with; 0: those of the page at the cursor, which moves on
--       then per such tenant   tenant, where to go on in it ("0": from its start)
-- result "OK", cursor of the next page ("0": there is none), count of tenants that are left,
--        each as above, then per quota: tenant, field, text
--
-- However many quotas a tenant has, one call shows about ARGV[7] of them, and of the first tenant
-- some at least. What cannot be read is left out; check.lua finds it.

-- luacheck: read globals call base QUOTA
local CHUNK = 1000
local out, o = {}, 0
local left, n = {}, 0
local room = tonumber(ARGV[7])

local function show_fields(tenant, fields, step)
    local t = base .. 't:' .. tenant
    local names = {}
    for i = 1, #fields, step do
        names[#names + 1] = fields[i]
    end
    for from = 1, #names, CHUNK do
        local to = math.min(from + CHUNK - 1, #names)
        local texts = call('HMGET', t, unpack(names, from, to))
        for i = from, to do
            -- without the levels that may stand behind the numbers (levels.lua)
            local text = texts[i - from + 1] and texts[i - from + 1]:match('^[%d ]*%d')
            if text and text:find(QUOTA) and names[i]:find('^%d+:%d+m?$') then
                out[o + 1], out[o + 2], out[o + 3] = tenant, names[i], text
                o = o + 3
            end
        end
    end
    room = room - #names
end

-- Where to go on; nil: all of it was shown.
local function show(tenant, cursor)
    repeat
        if room <= 0 then
            return cursor
        end
        local page = call('HSCAN', base .. 'c:' .. tenant, cursor, 'COUNT', math.min(room, CHUNK))
        cursor = page[1]
        show_fields(tenant, page[2], 2)
    until cursor == '0'
end

local function visit(tenant, cursor)
    local whole, rest = pcall(show, tenant, cursor)
    if whole and rest then
        left[n + 1], left[n + 2] = tenant, rest
        n = n + 2
    end
end

local next_page = ARGV[5]
if tonumber(ARGV[8]) > 0 then
    for i = 9, #ARGV, 2 do
        visit(ARGV[i], ARGV[i + 1])
    end
else
    local page = call('ZSCAN', base .. 'x:' .. ARGV[4], ARGV[5], 'COUNT', ARGV[6])
    next_page = page[1]
    for i = 1, #page[2], 2 do
        if page[2][i]:find('^[1-9]%d*$') then
            visit(page[2][i], '0')
        end
    end
end
local answer = {'OK', next_page, n / 2}
for i = 1, n do
    answer[3 + i] = left[i]
end
for i = 1, o do
    answer[3 + n + i] = out[i]
end
return answer
