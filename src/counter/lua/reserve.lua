-- reserve: writes holds, each for all of its quotas or none; later items see earlier ones.
--
-- KEYS  1 a, then per group its tenant's t
-- ARGV  1-4 guard   5 further shards (shards.lua); then now, count of groups
--       per group, its head:  tenant, its shard, the epoch, "epoch.version", count of quotas, count
--                   of terms, count of items, "limit:period" of each quota, "tenant=job" of each
--                   item; if the count of terms is below 0, "soft amount cap" of each quota whose
--                   limit wants crossings of what is reserved (levels.lua), or ""
--       per group, its items:
--                   per terms: deadline, 1 if deferrable (else 0), count of quotas,
--                   per quota: its "limit:period", index of the meter, soft stop, what the hold
--                   keeps behind its projected use if that reaches the soft stop ("": nothing)
--                   per item: index of its terms, identity, units of each quota; or "" for those
--                   of the item before
-- result "OK"
--       per group: 1 if a hold of the tenant is past its deadline, else 0, then the earliest and
--                  the latest deadline of its holds (-1: none), as before the script;
--                  0, -1, -1 if no item is SHORT
--                  per item: code, then what the code brings
--                    0 ADMITTED seq, and if it warns ":n:projected" of each such quota, counted
--                      from 1 | 1 SHORT shortfall bits of each of its quotas
--                    2 KNOWN entry | 3 DUE entry | 4 FINAL | 5 STALE
--                  per quota: its text (quota.lua) after the script, or nil and the lease that
--                  it was filled with ("0" if never, and where all items are STALE)
--
-- A group is a tenant at one config version; another version than Redis' is STALE, before anything
-- else is looked at. Terms are what items have in common, so they are sent once. Shortfall bits are
-- those of counter.h. Each key is read once, holds are counted in memory, and all writes come last:
-- an error before them leaves nothing half done.

-- luacheck: read globals call shown authority amount base LEASE_IDS shards_end
-- luacheck: read globals place_of index_add index_first index_last deadline_of marks_known levels
-- luacheck: read globals levels_made

local UNITS, DEADLINE, UNFILLED, VANISHED, SOFT = 1, 2, 4, 8, 16
local QUOTA = '^(%d+) ((%d+) (%d+) (%d+) (%d+) (%d+) (%d+) %d+ %d+ (%d+) %d+)$'
local NO_STOPS = '9007199254740991 9007199254740991 9007199254740991' -- AMOUNT_MAX
local now = amount(ARGV[shards_end + 1])
local live_from = place_of(now + 1, 0)
local seq = tonumber(authority[3]) or 0
local seq_before = seq
local format, concat = string.format, table.concat
local wanted, units, parts = {}, {}, {} -- of the item at hand, per quota of it
local out, o = {'OK'}, 1
local groups, groups_count = {}, ARGV[shards_end + 2] + 0
local marks, m = {}, 0 -- jobs that may be marked
local a = shards_end + 2 -- last argument that is behind us

-- Of a later epoch than the guard's: no script wrote it (clean.lua).
local function check_lease(lease)
    if lease >= LEASE_IDS then
        error({err = 'BADLEASE ' .. lease})
    end
end

-- A quota as admission sees it; missing: the lease that c says it was filled with decides.
-- lease_floor: leases below are of an earlier epoch.
local function read_quota(text, tenant, field, lease_floor)
    if not text then
        local was = call('HGET', base .. 'c:' .. tenant, field) or '0'
        check_lease(was - lease_floor)
        return {was = was, missing = was + 0 < lease_floor and UNFILLED or VANISHED}
    end
    local held, rest, L, G, B, S, D, C, W = text:match(QUOTA)
    local tail
    if not held then
        text, tail = text:match('^([%d ]+) (|.*)$')
        held, rest, L, G, B, S, D, C, W = (text or ''):match(QUOTA)
    end
    local lease = L - lease_floor
    if lease >= LEASE_IDS then
        check_lease(lease)
    elseif lease < 0 then
        return {held_before = held + 0, held = held + 0, rest = rest, tail = tail,
            missing = UNFILLED}
    end
    local room = G - B - S - held - W
    if room < 0 and (held + B > G + 0 or S + 0 > G + 0) then -- as in quota.lua
        error({err = 'BADQUOTA ' .. text})
    end
    return {held_before = held + 0, held = held + 0, rest = rest, tail = tail,
        room = room, ends = D + 0, used = C + 0,
        text = ':' .. field .. ':' .. format('%d', lease) .. ':'}
end

for g = 1, groups_count do
    local t, tenant, epoch, quotas = KEYS[1 + g], ARGV[a + 1], ARGV[a + 3], ARGV[a + 5] + 0
    local terms, items = ARGV[a + 6] + 0, ARGV[a + 7] + 0
    local first_field, first_job = a + 8, a + 8 + quotas
    local last_job = first_job + items - 1
    local texts = call('HMGET', t, 'v', 'x', unpack(ARGV, first_field, last_job))
    local group = {t = t, tenant = tenant, shard = ARGV[a + 2], entry_head = epoch .. ':',
        x = texts[2], quotas = quotas, terms = terms < 0 and -terms or terms,
        stops = terms < 0 and last_job,
        items = items, first_job = first_job, last_job = last_job,
        stale = texts[1] ~= ARGV[a + 4], known = {},
        states = {}, texts = texts, marks_before = m}
    if not group.stale then
        for q = 1, quotas do
            local field = ARGV[first_field + q - 1]
            local quota = read_quota(texts[2 + q], tenant, field, epoch * LEASE_IDS)
            quota.field = field
            group.known[field], group.states[q] = quota, quota
        end
        for i = 1, groups_count > 1 and items or 0 do
            marks[m + i] = ARGV[first_job + i - 1]
        end
        m = m + items
    end
    groups[g] = group
    a = terms < 0 and last_job + quotas or last_job
end
local marked = {}
if groups_count > 1 and m > 0 then
    marked = marks_known(marks, 1, m)
elseif m > 0 then
    marked = marks_known(ARGV, groups[1].first_job, groups[1].last_job)
end

local function read_terms(known)
    local deadline, n = amount(ARGV[a + 1]), ARGV[a + 3] + 0
    local its = {deadline = deadline, deadline_text = ARGV[a + 1],
        deferrable = ARGV[a + 2] == '1', n = n, quotas = {},
        heads = {}, softs = {}, warn_from = {}, warnings = {},
        tail = ':' .. format('%d', math.max(deadline - now, 0)) .. (n > 0 and ';' or '')}
    a = a + 3
    for q = 1, n do
        local quota = known[ARGV[a + 1]]
        its.quotas[q] = quota
        its.heads[q] = quota and quota.text and ARGV[a + 2] .. quota.text
        local soft, warning = amount(ARGV[a + 3]), ARGV[a + 4]
        its.softs[q], its.warnings[q] = soft, warning
        its.warn_from[q] = warning == '' and math.huge or soft
        a = a + 4
    end
    return its
end

-- The quota's text with its level, and whether it is to be written. The q-th of the group.
local function with_level(group, q, quota, text, changed)
    local stops, tail = group.stops and ARGV[group.stops + q] or '', quota.tail
    if quota.missing then
        return tail and text .. ' ' .. tail or text, changed
    elseif stops == '' then
        if not tail then
            return text, changed
        end
        stops = NO_STOPS -- nobody wants it any more; n must not begin again under this lease
    end
    local soft, amount, cap = stops:match('^(%d+) (%d+) (%d+)$')
    local L, C, Cv, Cd = quota.rest:match('^(%d+) %d+ %d+ %d+ %d+ (%d+) (%d+) (%d+)')
    local l = tail and levels().of(tail)
        or {level = 0, lease = L + 0, n = 0, shard = group.shard, pending = '', fresh = true}
    l.soft, l.amount, l.cap = soft + 0, amount + 0, cap + 0
    levels().cross(l, quota.held, C + 0, Cv + 0, Cd + 0)
    local now_tail = levels().text(l)
    if now_tail ~= tail then
        changed = true
        levels().note(group.tenant, quota.field, l)
    end
    return text .. ' ' .. now_tail, changed
end

for g = 1, #groups do
    local group = groups[g]
    local stale, marks_before = group.stale, group.marks_before
    local entry_head = group.entry_head
    local entries, entries_at = group.texts, 2 + group.quotas
    local about_holds, any_short = o + 1, false
    out[o + 1], out[o + 2], out[o + 3] = 0, -1, -1
    o = o + 3

    local terms = {}
    for t = 1, group.terms do
        terms[format('%d', t)] = read_terms(group.known) -- items name them by this text
    end

    local fresh = {} -- entries that this script makes
    local set, sets = {'HSET', group.t}, 2
    local places, members, numbers, n_added = {}, {}, {}, 0
    local earliest
    local its, identity, n, deadline
    local rest -- of a hold's text, if it warns of nothing
    for i = 1, group.items do
        local job = ARGV[group.first_job + i - 1]
        a = a + 1
        if ARGV[a] ~= '' then
            its, identity, rest = terms[ARGV[a]], ARGV[a + 1], nil
            n, deadline = its.n, its.deadline
            for q = 1, n do
                units[q] = ARGV[a + 1 + q]
                wanted[q] = amount(units[q])
            end
            a = a + 1 + n
        end
        if stale then
            o = o + 1
            out[o] = 5
        else
            local entry = fresh[job] or shown(entries[entries_at + i])
            if entry then
                out[o + 1] = (entry:match('^%d+:%d+:(%d+)') or 0) + 0 >= live_from and 2 or 3
                out[o + 2] = entry
                o = o + 2
            elseif marked[marks_before + i] then
                o = o + 1
                out[o] = 4
            else
                local short = false
                for q = 1, n do
                    local quota, more = its.quotas[q], wanted[q]
                    local bits = quota.missing or 0
                    if bits == 0 then
                        if quota.room < more then
                            bits = UNITS
                        end
                        if quota.ends < deadline then
                            bits = bits + DEADLINE
                        end
                        if its.deferrable and quota.used + quota.held + more > its.softs[q] then
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
                    local warned = ''
                    for q = 1, n do
                        local quota = its.quotas[q]
                        quota.room = quota.room - wanted[q]
                        quota.held = quota.held + wanted[q]
                        local projected = quota.used + quota.held
                        if projected >= its.warn_from[q] then
                            local text = format('%d', projected)
                            parts[q] = its.heads[q] .. units[q] .. ':' .. text .. its.warnings[q]
                            warned = warned .. format(':%d:', q) .. text
                        elseif not rest then
                            parts[q] = its.heads[q] .. units[q]
                        end
                    end
                    local text = warned == '' and rest
                    if not text then
                        text = its.tail .. (n == 1 and parts[1] or concat(parts, ';', 1, n))
                            .. '|' .. identity
                        rest = warned == '' and text
                    end
                    seq = seq + 1
                    local number = place_of(deadline, seq)
                    local place = format('%d', number)
                    entry = entry_head .. format('%d', seq) .. ':' .. place .. text
                    fresh[job] = entry
                    set[sets + 1], set[sets + 2] = job, entry
                    sets = sets + 2
                    n_added = n_added + 1
                    places[n_added], members[n_added], numbers[n_added] = place, job, number
                    if not earliest or deadline < earliest then
                        earliest, group.earliest = deadline, its.deadline_text
                    end
                    out[o + 1] = 0
                    out[o + 2] = warned == '' and seq or format('%d', seq) .. warned
                    for q = 3, 1 + n do
                        out[o + q] = nil -- bits of quotas that did not fall short
                    end
                    o = o + 2
                end
            end
        end
    end
    if any_short then
        local first = index_first(group.tenant, group.x)
        if first then
            first = deadline_of(first)
            out[about_holds] = first <= now and 1 or 0
            out[about_holds + 1] = first
            out[about_holds + 2] = deadline_of(index_last(group.tenant, group.x) or first)
        end
    end
    for q = 1, group.quotas do
        local quota = group.states[q]
        if not quota or not quota.held then
            out[o + 1] = false
            out[o + 2] = quota and quota.was or '0'
            o = o + 2
        else
            local text = format('%d', quota.held) .. ' ' .. quota.rest
            local changed = quota.held ~= quota.held_before
            if group.stops or quota.tail then
                text, changed = with_level(group, q, quota, text, changed)
            end
            if changed then
                set[sets + 1], set[sets + 2] = quota.field, text
                sets = sets + 2
            end
            o = o + 1
            out[o] = text
        end
    end
    group.set, group.places, group.members, group.numbers = set, places, members, numbers
end

if seq > seq_before then
    call('HINCRBY', KEYS[1], 'seq', seq - seq_before)
end
for g = 1, #groups do
    local group = groups[g]
    if group.earliest then
        local set = group.set
        local x = index_add(group.tenant, group.x, group.places, group.members, group.numbers)
        if x then
            set[#set + 1], set[#set + 2] = 'x', x
        end
        call(unpack(set))
        call('ZADD', base .. 'x:' .. group.shard, 'LT', group.earliest, group.tenant)
    elseif group.set[3] then -- stops have changed
        call(unpack(group.set))
    end
end
if levels_made then
    levels_made.keep()
end
return out
