#!lua flags=allow-oom
-- discard: holds that nobody can read go, and with them the quotas that they may be held in, since
-- nobody knows how much that was. Such a quota has vanished: nothing is admitted in it before the
-- database has set its lease aside and begun the next one (check.lua, fill.lua). What was held
-- comes back when that lease ends.
--
-- KEYS  1 a   2 t   3 c
-- ARGV  1-4 guard   5 tenant, then per hold: "tenant=job", its text as it was seen
-- result "OK", how many holds went, how many quotas
--
-- A hold goes only if its text still is the one that was seen, or if it still is lost and the index
-- names it where it did. H of a quota is the sum of its
-- holds, so where there are few holds those quotas go whose H the others do not add up to; where
-- there are many, all in which something is held.

-- luacheck: read globals call shown lost_text add_held readable index_remove leaf_name base
local HOLDS_MAX = 256
local AT_ONCE = 1000
local t, c, tenant = KEYS[2], KEYS[3], ARGV[5]
local jobs, places, members = {}, {}, {}
local x = call('HGET', t, 'x')

-- Where the index has the hold, whose text does not say it; or nil.
local function place_in_index(job)
    for _, leaf in ipairs(x and call('ZRANGE', base .. 'i:' .. tenant, 0, -1) or {'0'}) do
        local place = call('ZSCORE', leaf_name(tenant, leaf), job)
        if place then
            return place
        end
    end
end

for i = 6, #ARGV, 2 do
    local job, seen, text = ARGV[i], ARGV[i + 1], call('HGET', t, ARGV[i])
    local place = text and seen:match('^%d+:%d+:(%d+):') or place_in_index(job)
    if (shown(text) or place and lost_text(place)) == seen then
        jobs[#jobs + 1] = job
        if place then
            places[#places + 1], members[#members + 1] = place, job
        end
    end
end
if #jobs == 0 then
    return {'OK', 0, 0}
end
call('HDEL', t, unpack(jobs))
local own = call('HMGET', t, 'q', 'x', 'v')
if #places > 0 and not index_remove(tenant, own[2], places, members) then
    call('HDEL', t, 'x')
    own[2] = false
end

local holds = call('HLEN', t) - (own[1] or 0)
for i = 1, 3 do
    holds = holds - (own[i] and 1 or 0)
end
local sums = {}
local all = holds <= HOLDS_MAX and call('HGETALL', t) or {}
for i = 1, #all, 2 do
    if all[i]:find('=', 1, true) and readable(all[i + 1]) then
        add_held(sums, all[i + 1])
    end
end

local leases, fields, quotas = call('HGETALL', c), {}, 0
for i = 1, #leases, 2 do
    fields[#fields + 1] = leases[i]
end
for from = 1, #fields, AT_ONCE do
    local to = math.min(from + AT_ONCE - 1, #fields)
    local texts, gone = call('HMGET', t, unpack(fields, from, to)), {}
    for i = 1, to - from + 1 do
        local field, text = fields[from + i - 1], texts[i]
        local H, L = (text or ''):match('^(%d+) (%d+) ')
        local sum = holds <= HOLDS_MAX and L and sums[field .. ' ' .. (L + 0)] or 0
        if text and (not H or H + 0 ~= sum) then
            gone[#gone + 1] = field
        end
    end
    if #gone > 0 then
        call('HDEL', t, unpack(gone))
        call('HINCRBY', t, 'q', -#gone)
        quotas = quotas + #gone
    end
end
return {'OK', #jobs, quotas}
