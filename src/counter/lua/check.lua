#!lua flags=allow-oom
-- check: looks over a page of the shard's tenants for keys that were lost singly.
--
-- KEYS  1 a
-- ARGV  1-4 guard   5 now   6 cursor ("0": from the start)   7 tenants of a page, about
-- result "OK", cursor of the next page ("0": there is none), 1 if x is whole (else register.lua is
--        to make it so), tenants looked at, then findings, each: kind, tenant, count, and that many
--          of
--          1 LOST     field and lease of quotas that t had and has no more: what was held in them
--                     is
--                     not known; the database is to set these leases aside (forget.lua, fill.lua)
--          2 DERIVED  nothing; c or the index lack what t has: rebuild.lua
--          3 HELD     field and lease of quotas whose H was not what their holds add up to, and is
--                     now
--          4 UNREADABLE  nothing; something of the tenant is not what a script wrote: clean.lua
--
-- How each is noticed: t and c say each how many quotas there are (field q of t, length of c), and
-- t and the index how many holds. x has a member 0 that is no tenant, so that its loss shows.
-- On the way quotas of periods that are over go, and all of a tenant that has nothing left; marks
-- that are past their time likewise.

-- luacheck: read globals call base amount index_first deadline_of forget_ended
-- luacheck: read globals add_held readable load text_of marks_age drop_index index_count levels
local SAMPLE, LOOKS = 64, 32
local HOLDS_MAX = 256
local now, x_name = amount(ARGV[5]), base .. 'x:' .. ARGV[4]
local out, o = {'OK'}, 4
local holds_left = 4 * HOLDS_MAX -- of one script

local function found(kind, tenant, list)
    out[o + 1], out[o + 2], out[o + 3] = kind, tenant, #list / 2
    for i = 1, #list do
        out[o + 3 + i] = list[i]
    end
    o = o + 3 + #list
end

-- Of some of the quotas in c those that t has not.
local function missing_of(t, c)
    local some, missing, fields = call('HRANDFIELD', c, SAMPLE, 'WITHVALUES'), {}, {}
    for i = 1, #some, 2 do
        if not some[i]:find('^%d+:%d+m?$') or not some[i + 1]:find('^%d+$') then
            error({err = 'BADLEASE ' .. some[i]}) -- clean.lua
        end
        fields[#fields + 1] = some[i]
    end
    local texts = #fields > 0 and call('HMGET', t, unpack(fields)) or {}
    for i = 1, #fields do
        if not texts[i] then
            missing[#missing + 1], missing[#missing + 2] = fields[i], some[2 * i]
        end
    end
    return missing
end

-- H of every quota is the sum of the holds of its lease. It stays while there is a hold that cannot
-- be read: nobody knows its part of it (discard.lua).
local function check_held(t)
    local all, sums, wrong = call('HGETALL', t), {}, {}
    for i = 1, #all, 2 do
        if all[i]:find('=', 1, true) then
            if not readable(all[i + 1]) then
                return {}
            end
            add_held(sums, all[i + 1])
        end
    end
    for i = 1, #all, 2 do
        local q = all[i]:find('^%d+:%w+$') and load(t, all[i])
        local sum = q and sums[all[i] .. ' ' .. q.L] or 0
        if q and q.H ~= sum then
            q.H = sum
            call('HSET', t, all[i], text_of(q))
            if q.levels then
                levels().note(t:match('%d+$'), all[i], q.levels)
                levels().keep()
            end
            wrong[#wrong + 1], wrong[#wrong + 2] = all[i], ('%d'):format(q.L)
        end
    end
    return wrong
end

local function check_tenant(tenant, score)
    local t, c = base .. 't:' .. tenant, base .. 'c:' .. tenant
    local own = call('HMGET', t, 'q', 'x', 'v')
    local quotas, x = (own[1] or 0) + 0, own[2]
    if call('EXISTS', t, c) == 0 then
        error({err = 'BADCOUNT ' .. t}) -- clean.lua
    end
    local holds = call('HLEN', t) - quotas
    for i = 1, 3 do
        holds = holds - (own[i] and 1 or 0)
    end
    local filled = call('HLEN', c)
    if filled > quotas then
        local missing = missing_of(t, c)
        if #missing > 0 then
            found(1, tenant, missing)
        end
    end
    if filled < quotas or holds ~= index_count(tenant, x) then
        found(2, tenant, {})
    elseif holds <= HOLDS_MAX and (holds > 0 or quotas <= HOLDS_MAX) and holds_left > 0 then
        holds_left = holds_left - holds - quotas - 1
        local wrong = check_held(t)
        if #wrong > 0 then
            found(3, tenant, wrong)
        end
    end
    if quotas > 0 and filled == quotas then
        quotas = quotas - forget_ended(t, c, now, LOOKS)
        filled = quotas
    end
    if quotas == 0 and filled == 0 and holds <= 0 then
        drop_index(tenant, x)
        call('DEL', t, c)
        call('ZREM', x_name, tenant)
        return
    end
    local first = holds > 0 and index_first(tenant, x)
    if first and score ~= '-inf' and (score == 'inf' or score + 0 > deadline_of(first)) then
        call('ZADD', x_name, deadline_of(first), tenant)
    end
end

marks_age(now)
out[3] = call('ZSCORE', x_name, '0') and 1 or 0
local page = call('ZSCAN', x_name, ARGV[6], 'COUNT', ARGV[7])
out[2] = page[1]
for i = 1, #page[2], 2 do
    local tenant = page[2][i]
    if tenant ~= '0' and not tenant:find('^[1-9]%d*$') then -- a hand's
        call('ZREM', x_name, tenant)
    elseif tenant ~= '0' and not pcall(check_tenant, tenant, page[2][i + 1]) then
        found(4, tenant, {})
    end
end
out[4] = #page[2] / 2
return out
