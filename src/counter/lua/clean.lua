#!lua flags=allow-oom
-- clean: what cannot be read goes, so that it counts as lost: keys of another type, texts of
-- another form, fields of nobody. No script of ours makes such; a hand in the data does.
--
-- KEYS  1 a, then per tenant t and c
-- ARGV  1-4 guard, then tenants
-- result "OK", how many keys and fields went or came
--
-- What is lost then is put right as if it had been deleted (check.lua, fill.lua, rebuild.lua). A
-- tenant that loses a hold in this way loses its quotas too: nobody knows what was held in them,
-- and only the next leases may be promised. Where the index names a hold that t has not, the quotas
-- go whose H is more than the others add up to. Where c has less than t counts, what it lacks of
-- the quotas of t, and of those that holds name, is put there. Where t and c are both gone, nothing
-- says any more what was lent, and the shard's epoch ends with them.

-- luacheck: read globals call base authority generation marks_key leaf_name drop_index LEAF_CHARS
-- luacheck: read globals lease_floor LEASE_IDS AMOUNT_MAX quotas_of add_held index_count
local pcall_redis = redis.pcall
local NUMBER_CHARS = 16 -- 2^53 has as many
local HOLD_TEXT_MAX = 32768 -- HOLD_TEXT_MAX, quota/hold.h
local AT_ONCE = 1000
local x_name = base .. 'x:' .. ARGV[4]
local gone = 0

-- By a command that is for one type only. Any other error says nothing about the key.
local function sound(command, key)
    local answer = pcall_redis(command, key)
    return type(answer) ~= 'table' or not answer.err or not answer.err:find('WRONGTYPE', 1, true)
end

local function keep_if_sound(command, key)
    if sound(command, key) then
        return true
    end
    call('UNLINK', key)
    gone = gone + 1
    return false
end

local function numbers_fit(text)
    for number in text:gmatch('%d+') do
        if #number > NUMBER_CHARS or number + 0 > AMOUNT_MAX then
            return false
        end
    end
    return true
end

-- The form of hold.lua.
local function is_hold(text)
    local head, quotas, rest = text:match('^(%d+:%d+:%d+:%d+)([^|]*)|(.*)$')
    if not head or #text > HOLD_TEXT_MAX
        or not rest:find('^[%w._/-]*|%d+|[%w._-]+=%d+[%w._=,-]*$') then
        return false
    end
    for quota in quotas:gmatch('[^;]+') do
        if not quota:find('^%d+:%d+:%d+m?:%d+:%d+$')
            and not quota:find('^%d+:%d+:%d+m?:%d+:%d+:%d+[%w:._-]*$') then
            return false
        end
    end
    for meter in rest:match('|%d+|(.*)$'):gmatch('[^,]+') do
        if not meter:find('^[%w._-]+=%d+$') then
            return false
        end
    end
    return quotas == '' or quotas:byte(1) == 59
end

-- A lease of a later epoch than the shard's is none that a script has seen.
local function is_lease(text)
    return text:find('^%d+$') and numbers_fit(text) and text + 0 < lease_floor + LEASE_IDS
end

-- The form of levels.lua.
local function is_tail(tail)
    local pending = numbers_fit(tail) and tail:match('^%d+ %d+ %d+ [0-7] %d+ %d+ %d%d?%d?(.*)$')
    for entry in (pending or ''):gmatch(';([^;]*)') do
        if not entry:find('^%d+:%d+:[0-7]:%d+:%d+:%d+:%d+:%d+:%d+:%d+$') then
            return false
        end
    end
    return pending == '' or pending and pending:byte(1) == 59
end

-- The form of quota.lua, and what it says of the numbers.
local function is_quota(text)
    local numbers, tail = text:match('^([%d ]+) |(.*)$')
    if tail and not is_tail(tail) then
        return false
    end
    text = numbers or text
    local _, blanks = text:gsub(' ', ' ')
    if blanks ~= 10 or not text:find('^%d[%d ]*%d$') or text:find('  ', 1, true)
        or not numbers_fit(text) then
        return false
    end
    local H, L, G, B, S = text:match('^(%d+) (%d+) (%d+) (%d+) (%d+) ')
    return is_lease(L) and H + B <= G + 0 and S + 0 <= G + 0
end

local OWN = {v = '^%d+%.%d+$', q = '^%d+$', x = '^%d+:%d+:%d+$'}

-- Fields that go, quotas and holds that stay, and whether a hold is among what goes.
local function look_over(all, tenant)
    local bad, quotas, holds, lost = {}, {}, {}, false
    for i = 1, #all, 2 do
        local field, text = all[i], all[i + 1]
        if OWN[field] then
            if not text:find(OWN[field])
                or field == 'x' and #text:match('^%d+') > LEAF_CHARS then
                bad[#bad + 1] = field
            end
        elseif field:find('=', 1, true) then
            if field:match('^(%d+)=') ~= tenant or not is_hold(text) then
                bad[#bad + 1], lost = field, true
            else
                holds[#holds + 1] = text
            end
        elseif field:find('^%d+:%d+m?$') and is_quota(text) then
            quotas[#quotas + 1] = field
        else
            bad[#bad + 1] = field
        end
    end
    return bad, quotas, holds, lost
end

-- Quotas in which more is held than these holds do.
local function quotas_above(quotas, texts, holds)
    local sums, above, rest = {}, {}, {}
    for i = 1, #holds do
        add_held(sums, holds[i])
    end
    for i = 1, #quotas do
        local H, L = texts[quotas[i]]:match('^(%d+) (%d+) ')
        local list = H + 0 > (sums[quotas[i] .. ' ' .. (L + 0)] or 0) and above or rest
        list[#list + 1] = quotas[i]
    end
    return above, rest
end

local function remove(key, fields)
    for i = 1, #fields, AT_ONCE do
        gone = gone + call('HDEL', key, unpack(fields, i, math.min(i + AT_ONCE - 1, #fields)))
    end
end

local function clean_leases(c)
    local all, bad = call('HGETALL', c), {}
    for i = 1, #all, 2 do
        if not all[i]:find('^%d+:%d+m?$') or not is_lease(all[i + 1]) then
            bad[#bad + 1] = all[i]
        end
    end
    remove(c, bad)
end

-- What c lacks, with the newest lease that is known of. texts: of the quotas in t, by field.
local function fill_leases(c, quotas, texts, holds)
    local newest = {}
    for i = 1, #holds do
        for _, field, lease in quotas_of(holds[i]) do
            if lease < lease_floor + LEASE_IDS and lease > (newest[field] or 0) then
                newest[field] = lease
            end
        end
    end
    for i = 1, #quotas do
        newest[quotas[i]] = texts[quotas[i]]:match('^%d+ (%d+) ') + 0
    end
    for field, lease in pairs(newest) do
        gone = gone + call('HSETNX', c, field, ('%d'):format(lease))
    end
end

local function clean_index(t, tenant)
    local x, directory = call('HGET', t, 'x'), base .. 'i:' .. tenant
    local good = keep_if_sound('ZCARD', directory)
    local leaves = x and good and call('ZRANGE', directory, 0, -1) or {'0'}
    for l = 1, #leaves do
        good = keep_if_sound('ZCARD', leaf_name(tenant, leaves[l])) and good
    end
    if not good then
        drop_index(tenant, x)
        call('HDEL', t, 'x')
    end
end

local function clean_tenant(t, c, tenant)
    local has_t, has_c = keep_if_sound('HLEN', t), keep_if_sound('HLEN', c)
    if call('EXISTS', t, c) == 0 then
        if not has_t or not has_c or call('ZSCORE', x_name, tenant) then
            gone = gone + call('HDEL', KEYS[1], ARGV[4])
            call('ZREM', x_name, tenant)
            keep_if_sound('ZCARD', base .. 'i:' .. tenant)
            drop_index(tenant, nil)
        end
        return
    end
    local all, texts = call('HGETALL', t), {}
    for i = 1, #all, 2 do
        texts[all[i]] = all[i + 1]
    end
    local bad, quotas, holds, lost = look_over(all, tenant)
    remove(t, bad)
    clean_leases(c)
    if (tonumber(texts.q) or 0) > call('HLEN', c) then
        fill_leases(c, quotas, texts, holds)
    end
    clean_index(t, tenant)
    if lost then
        remove(t, quotas)
        quotas = {}
    elseif index_count(tenant, call('HGET', t, 'x')) > #holds then
        local above
        above, quotas = quotas_above(quotas, texts, holds)
        remove(t, above)
    end
    if #quotas > 0 then
        call('HSET', t, 'q', ('%d'):format(#quotas))
    elseif has_t then
        call('HDEL', t, 'q')
    end
end

keep_if_sound('ZCARD', x_name)
keep_if_sound('HLEN', base .. 'p')
if generation > 0 then
    keep_if_sound('SCARD', marks_key(0))
    keep_if_sound('SCARD', marks_key(1))
end
for i = 5, #ARGV do
    clean_tenant(KEYS[2 * (i - 4)], KEYS[2 * (i - 4) + 1], ARGV[i])
end
return {'OK', gone}
