-- reserve: writes holds, each for all of its quotas or none; later items see earlier ones.
--
-- KEYS  1 a   2 x (tenants by earliest deadline)
--       per group: c, h, x:<tenant>, f (current bucket), f (one before), f (two before),
--       then the t key of each quota of the group
-- ARGV  1-3 guard   4 now   5 count of groups
--       per group:  tenant, "epoch.version", count of quotas, count of terms, count of items,
--                   "limit:period" of each quota, job of each item
--                   per terms: deadline, 1 if deferrable (else 0), count of quotas,
--                   per quota: index among the group's quotas, index of the meter, soft stop
--                   per item: index of its terms, identity, units of each quota
-- result "OK"
--       per group: 1 if a hold of the tenant is past its deadline, else 0, then the earliest and
--                  the latest deadline of its holds (-1: none), as before the script;
--                  0, -1, -1 if no item is SHORT
--                  per item: code, then what the code brings
--                    0 ADMITTED entry | 1 SHORT shortfall bits of each of its quotas
--                    2 KNOWN entry | 3 DUE entry | 4 FINAL | 5 STALE
--                  per quota: L G B S H D C Cv Cd W after the script, or nil and the lease that
--                  it was filled with ("0" if never)
--
-- A group is a tenant at one config version; another version than Redis' is STALE, before anything
-- else is looked at. Terms are what items have in common, so they are sent once. Shortfall bits are
-- those of counter.h. Each key is read once, holds are counted in memory, and all writes come last:
-- an error before them leaves nothing half done.

-- luacheck: read globals call authority lease_floor amount

-- Texts as numbers, each converted and checked once: most repeat within a call.
local number = setmetatable({}, {__index = function(known, text)
    local n = amount(text)
    known[text] = n
    return n
end})
local UNITS, DEADLINE, UNFILLED, VANISHED, SOFT = 1, 2, 4, 8, 16
local now = amount(ARGV[4])
local seq = tonumber(authority[3]) or 0
local seq_before = seq
local entry_head = ARGV[2] .. ':'
local entry_created = ':' .. ARGV[4] .. '|'
local format = string.format
local wanted, parts = {}, {} -- of the item at hand, per quota of it
local out, o = {'OK'}, 1
local writes, w = {}, 0
local k, a = 2, 5 -- last key and argument that are behind us

-- Per job 1 if it is in one of the three buckets from this key on, usually only in one that exists.
local function final_marks(key, jobs_from, jobs_to)
    local marks = {}
    for bucket = key, key + 2 do
        if call('EXISTS', KEYS[bucket]) == 1 then
            local found = call('SMISMEMBER', KEYS[bucket], unpack(ARGV, jobs_from, jobs_to))
            for i = 1, #found do
                if found[i] == 1 then
                    marks[i] = true
                end
            end
        end
    end
    return marks
end

for _ = 1, ARGV[5] do
    local c, h, x = k + 1, k + 2, k + 3
    local tenant, version = ARGV[a + 1], ARGV[a + 2]
    local quotas, terms_count = number[ARGV[a + 3]], number[ARGV[a + 4]]
    local items = number[ARGV[a + 5]]
    local first_field, first_job = a + 6, a + 6 + quotas
    local last_job = first_job + items - 1
    local terms_at = {} -- the first argument of each
    a = last_job
    for t = 1, terms_count do
        terms_at[t] = a + 1
        a = a + 3 + 3 * number[ARGV[a + 3]]
    end
    local filled = call('HMGET', KEYS[c], 'v', unpack(ARGV, first_field, first_job - 1))
    local stale = filled[1] ~= version
    local about_holds, any_short = o + 1, false
    out[o + 1], out[o + 2], out[o + 3] = 0, -1, -1
    o = o + 3

    local states, room, held, ends, used, missing, text = {}, {}, {}, {}, {}, {}, {}
    local entries, marks
    if not stale then
        entries = call('HMGET', KEYS[h], unpack(ARGV, first_job, last_job))
        marks = final_marks(k + 4, first_job, last_job)
        for q = 1, quotas do
            local s = call('HMGET', KEYS[k + 6 + q],
                'L', 'G', 'B', 'S', 'H', 'D', 'C', 'Cv', 'Cd', 'W')
            s[10] = s[10] or 0
            local lease, was = s[1] and s[1] + 0, filled[q + 1]
            states[q] = s
            if lease and lease < lease_floor then
                missing[q] = UNFILLED
            elseif was and (not lease or lease < was + 0) then
                missing[q] = was + 0 < lease_floor and UNFILLED or VANISHED
                s[1] = false
            elseif not lease then
                missing[q] = UNFILLED
            else
                held[q] = s[5] + 0
                room[q] = s[2] - s[3] - s[4] - s[5] - s[10]
                ends[q] = s[6] + 0
                used[q] = s[7] + 0
                text[q] = ':' .. ARGV[first_field + q - 1] .. ':' .. s[1] .. ':'
            end
        end
    end

    local fresh = {} -- entries that this script makes
    local set_h, set_x, sets = {'HSET', KEYS[h]}, {'ZADD', KEYS[x]}, 2
    local earliest
    for i = 1, items do
        local job = ARGV[first_job + i - 1]
        local terms, identity, units_at = terms_at[number[ARGV[a + 1]]], ARGV[a + 2], a + 2
        local deadline_text, deferrable = ARGV[terms], ARGV[terms + 1] == '1'
        local deadline, n = number[deadline_text], number[ARGV[terms + 2]]
        a = a + 2 + n
        if stale then
            o = o + 1
            out[o] = 5
        else
            local entry = fresh[job] or entries[i]
            if entry then
                out[o + 1] = entry:match('^%d+:%d+:(%d+)') + 0 > now and 2 or 3
                out[o + 2] = entry
                o = o + 2
            elseif marks[i] then
                o = o + 1
                out[o] = 4
            else
                local short = false
                local at = terms + 3
                for q = 1, n do
                    local key, units = number[ARGV[at]], amount(ARGV[units_at + q])
                    local bits = missing[key] or 0
                    wanted[q] = units
                    if bits == 0 then
                        if room[key] < units then
                            bits = UNITS
                        end
                        if ends[key] < deadline then
                            bits = bits + DEADLINE
                        end
                        if deferrable and used[key] + held[key] + units > number[ARGV[at + 2]] then
                            bits = bits + SOFT
                        end
                    end
                    out[o + 1 + q] = bits
                    short = short or bits > 0
                    at = at + 3
                end
                if short then
                    any_short = true
                    out[o + 1] = 1
                    o = o + 1 + n
                else
                    at = terms + 3
                    for q = 1, n do
                        local key = number[ARGV[at]]
                        room[key] = room[key] - wanted[q]
                        held[key] = held[key] + wanted[q]
                        parts[q] = ARGV[at + 1] .. text[key] .. ARGV[units_at + q] .. ':'
                            .. format('%d', used[key] + held[key])
                        at = at + 3
                    end
                    seq = seq + 1
                    entry = entry_head .. format('%d', seq) .. ':' .. deadline_text
                        .. entry_created .. identity .. '|'
                        .. (n == 1 and parts[1] or table.concat(parts, ';', 1, n))
                    fresh[job] = entry
                    set_h[sets + 1], set_h[sets + 2] = job, entry
                    set_x[sets + 1], set_x[sets + 2] = deadline_text, job
                    sets = sets + 2
                    if not earliest or deadline < earliest then
                        earliest = deadline
                    end
                    out[o + 1] = 0
                    out[o + 2] = entry
                    for q = 3, 1 + n do
                        out[o + q] = nil -- bits of quotas that did not fall short
                    end
                    o = o + 2
                end
            end
        end
    end
    if any_short then
        local first = call('ZRANGE', KEYS[x], 0, 0, 'WITHSCORES')[2]
        if first then
            out[about_holds] = first + 0 <= now and 1 or 0
            out[about_holds + 1] = first
            out[about_holds + 2] = call('ZRANGE', KEYS[x], -1, -1, 'WITHSCORES')[2]
        end
    end
    if earliest then
        writes[w + 1], writes[w + 2] = set_h, set_x
        writes[w + 3] = {'ZADD', KEYS[2], 'LT', earliest, tenant}
        w = w + 3
    end
    for q = 1, quotas do
        local s = states[q]
        if not s or not s[1] then
            out[o + 1] = false
            out[o + 2] = filled[q + 1] or '0'
            o = o + 2
        else
            if earliest and not missing[q] and held[q] ~= s[5] + 0 then
                s[5] = held[q]
                w = w + 1
                writes[w] = {'HSET', KEYS[k + 6 + q], 'H', held[q]}
            end
            for field = 1, 10 do
                out[o + field] = s[field]
            end
            o = o + 10
        end
    end
    k = k + 6 + quotas
end

if seq > seq_before then
    call('HINCRBY', KEYS[1], 'seq', seq - seq_before)
end
for i = 1, w do
    call(unpack(writes[i]))
end
return out
