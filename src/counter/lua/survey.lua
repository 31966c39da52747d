#!lua flags=no-writes
-- survey: all quotas of a page of the shard's tenants, as they are.
--
-- KEYS  1 a
-- ARGV  1-4 guard   5 cursor ("0": from the start)   6 tenants of a page, about
-- result "OK", cursor of the next page ("0": there is none), then per quota: tenant, field, text
--
-- What cannot be read is left out; check.lua finds it.

-- luacheck: read globals call base QUOTA
local CHUNK = 1000
local out, o = {'OK'}, 2

local function show(tenant)
    local t, fields = base .. 't:' .. tenant, call('HKEYS', base .. 'c:' .. tenant)
    for from = 1, #fields, CHUNK do
        local to = math.min(from + CHUNK - 1, #fields)
        local texts = call('HMGET', t, unpack(fields, from, to))
        for i = from, to do
            -- without the levels that may stand behind the numbers (levels.lua)
            local text = texts[i - from + 1] and texts[i - from + 1]:match('^[%d ]*%d')
            if text and text:find(QUOTA) and fields[i]:find('^%d+:%d+m?$') then
                out[o + 1], out[o + 2], out[o + 3] = tenant, fields[i], text
                o = o + 3
            end
        end
    end
end

local page = call('ZSCAN', base .. 'x:' .. ARGV[4], ARGV[5], 'COUNT', ARGV[6])
out[2] = page[1]
for i = 1, #page[2], 2 do
    if page[2][i]:find('^[1-9]%d*$') then
        pcall(show, page[2][i])
    end
end
return out
