#!lua flags=allow-oom
-- reap: frees holds that are past their deadline, after the database raised reaped_to and wrote
-- them down. Nobody frees by age alone.
--
-- KEYS  1 a   2 t
-- ARGV  1-4 guard   5 now   6 tenant   7 reaped_to   8 count of totals   9 count of jobs
--       per totals: "limit:period" L G B S D C Cv Cd E
--       per job: "tenant=job", attempt "epoch.seq", "1" if the ledger has it, else "0"
-- result "OK", count of holds removed, count of H that would be negative, the names of these,
--        per totals: 0 TAKEN | 2 OLDER | 3 ABSENT, then the quota's text (or nil, 0)
--
-- An attempt goes only if it is the one named and its deadline now is not after reaped_to: an
-- Extend may have moved it meanwhile. Jobs in the ledger are marked FINAL, their notify was lost.

-- luacheck: read globals call base amount load prefetch flush push totals TOTALS raise attempt_of
-- luacheck: read globals give_back below_zero index_remove index_first deadline_of marks_add
local t, tenant, reaped_to = KEYS[2], ARGV[6], amount(ARGV[7])
local count, jobs = ARGV[8] + 0, ARGV[9] + 0
local fields, jobs_at = {}, 10 + TOTALS * count
for i = 1, count do
    fields[i] = ARGV[10 + TOTALS * (i - 1)]
end
fields[count + 1] = 'x'
for i = 1, jobs do
    fields[count + 1 + i] = ARGV[jobs_at + 3 * (i - 1)]
end
local texts = prefetch(t, count, fields, 1, #fields)
local x = texts[count + 1]
local took = {}
for i = 1, count do
    local given, q = totals(10 + TOTALS * (i - 1)), load(t, fields[i])
    if q then
        raise(given, q)
        took[i] = q.L == given.L and 0 or 2
    else
        took[i] = 3
    end
end
local removed, places, final, gone = {}, {}, {}, {}
for i = 1, jobs do
    local at = jobs_at + 3 * (i - 1)
    local job, entry = ARGV[at], texts[count + 1 + i]
    if entry and not gone[job] then
        local attempt, _, deadline = attempt_of(entry)
        if attempt == ARGV[at + 1] and deadline <= reaped_to then
            local place = give_back(t, entry)
            if place then
                gone[job] = true
                removed[#removed + 1], places[#places + 1] = job, place
            end
        end
    end
    if ARGV[at + 2] == '1' then
        final[#final + 1] = job
    end
end

flush()
local count_removed = #removed
if count_removed > 0 then
    if not index_remove(tenant, x, places, removed) then
        x = false
        call('HDEL', t, 'x')
    end
    call('HDEL', t, unpack(removed))
end
if #final > 0 then
    marks_add(final, amount(ARGV[5]))
end
local first = index_first(tenant, x)
if first or call('EXISTS', t) == 1 then
    call('ZADD', base .. 'x:' .. ARGV[4], first and deadline_of(first) or 'inf', tenant)
end
local out = {'OK', count_removed, #below_zero}
for i = 1, #below_zero do
    out[#out + 1] = below_zero[i]
end
for i = 1, count do
    out[#out + 1] = took[i]
    push(out, t, fields[i])
end
return out
