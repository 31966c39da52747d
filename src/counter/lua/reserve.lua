-- reserve: writes holds, each for all of its quotas or none; later items see earlier ones.
--
-- KEYS  1 a   2 x (tenants by earliest deadline)
--       per group: c, h, x:<tenant>, f (current bucket), f (one before), f (two before),
--       then the t key of each quota of the group
-- ARGV  1-3 guard   4 now   5 count of groups
--       per group:  tenant, "epoch.version", count of quotas, count of terms, count of items,
--                   "limit:period" of each quota, job of each item
--                   per terms: deadline, 1 if deferrable (else 0), count of quotas,
--                   per quota: its "limit:period", index of the meter, soft stop
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

-- A quota as admission sees it; was: the lease that c says it was filled with, or false.
local function read_quota(key, field, was)
    local s = call('HMGET', key, 'L', 'G', 'B', 'S', 'H', 'D', 'C', 'Cv', 'Cd', 'W')
    local lease = s[1] and s[1] + 0
    s[10] = s[10] or 0
    if lease and lease < lease_floor then
        return {state = s, missing = UNFILLED}
    end
    if was and (not lease or lease < was + 0) then
        s[1] = false
        return {state = s, missing = was + 0 < lease_floor and UNFILLED or VANISHED}
    end
    if not lease then
        return {state = s, missing = UNFILLED}
    end
    return {state = s, held = s[5] + 0, room = s[2] - s[3] - s[4] - s[5] - s[10],
        ends = s[6] + 0, used = s[7] + 0, text = ':' .. field .. ':' .. s[1] .. ':'}
end

for _ = 1, ARGV[5] do
    local c, h, x = k + 1, k + 2, k + 3
    local tenant, version = ARGV[a + 1], ARGV[a + 2]
    local quotas, terms_count, items = ARGV[a + 3] + 0, ARGV[a + 4] + 0, ARGV[a + 5] + 0
    local first_field, first_job = a + 6, a + 6 + quotas
    local last_job = first_job + items - 1
    local filled = call('HMGET', KEYS[c], 'v', unpack(ARGV, first_field, first_job - 1))
    local stale = filled[1] ~= version
    local about_holds, any_short = o + 1, false
    out[o + 1], out[o + 2], out[o + 3] = 0, -1, -1
    o = o + 3

    local known, entries, marks = {}, nil, nil -- quotas by "limit:period"
    if not stale then
        entries = call('HMGET', KEYS[h], unpack(ARGV, first_job, last_job))
        marks = final_marks(k + 4, first_job, last_job)
        for q = 1, quotas do
            local field = ARGV[first_field + q - 1]
            known[field] = read_quota(KEYS[k + 6 + q], field, filled[q + 1])
        end
    end

    local terms = {}
    a = last_job
    for t = 1, terms_count do
        local n = ARGV[a + 3] + 0
        local its = {deadline = amount(ARGV[a + 1]), deadline_text = ARGV[a + 1],
            deferrable = ARGV[a + 2] == '1', n = n, quotas = {}, heads = {}, softs = {}}
        a = a + 3
        for q = 1, n do
            local quota = known[ARGV[a + 1]]
            its.quotas[q] = quota
            its.heads[q] = quota and quota.text and ARGV[a + 2] .. quota.text
            its.softs[q] = amount(ARGV[a + 3])
            a = a + 3
        end
        terms[t] = its
    end

    local fresh = {} -- entries that this script makes
    local set_h, set_x, sets = {'HSET', KEYS[h]}, {'ZADD', KEYS[x]}, 2
    local earliest
    for i = 1, items do
        local job = ARGV[first_job + i - 1]
        local its, identity, units_at = terms[ARGV[a + 1] + 0], ARGV[a + 2], a + 2
        local n, deadline = its.n, its.deadline
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
                for q = 1, n do
                    local quota, units = its.quotas[q], amount(ARGV[units_at + q])
                    local bits = quota.missing or 0
                    wanted[q] = units
                    if bits == 0 then
                        if quota.room < units then
                            bits = UNITS
                        end
                        if quota.ends < deadline then
                            bits = bits + DEADLINE
                        end
                        if its.deferrable and quota.used + quota.held + units > its.softs[q] then
                            bits = bits + SOFT
                        end
                    end
                    out[o + 1 + q] = bits
                    short = short or bits > 0
                end
                if short then
                    any_short = true
                    out[o + 1] = 1
                    o = o + 1 + n
                else
                    for q = 1, n do
                        local quota = its.quotas[q]
                        quota.room = quota.room - wanted[q]
                        quota.held = quota.held + wanted[q]
                        parts[q] = its.heads[q] .. ARGV[units_at + q] .. ':'
                            .. format('%d', quota.used + quota.held)
                    end
                    seq = seq + 1
                    entry = entry_head .. format('%d', seq) .. ':' .. its.deadline_text
                        .. entry_created .. identity .. '|'
                        .. (n == 1 and parts[1] or table.concat(parts, ';', 1, n))
                    fresh[job] = entry
                    set_h[sets + 1], set_h[sets + 2] = job, entry
                    set_x[sets + 1], set_x[sets + 2] = its.deadline_text, job
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
        local quota = known[ARGV[first_field + q - 1]]
        local s = quota and quota.state
        if not s or not s[1] then
            out[o + 1] = false
            out[o + 2] = filled[q + 1] or '0'
            o = o + 2
        else
            if earliest and quota.held and quota.held ~= s[5] + 0 then
                s[5] = quota.held
                w = w + 1
                writes[w] = {'HSET', KEYS[k + 6 + q], 'H', quota.held}
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
