#!lua flags=allow-oom
-- reap: frees holds that are past their deadline, after the database raised reaped_to and wrote
-- them down. Nobody frees by age alone.
--
-- KEYS  1 a   2 x   3 h   4 x:<tenant>   5 f (current bucket), then per totals its t key
--       (and the t keys of the entries, see hold.lua)
-- ARGV  1-3 guard   4 tenant   5 reaped_to   6 count of totals   7 count of jobs
--       per totals: "limit:period" L G B S D C Cv Cd
--       per job: job, attempt "epoch.seq", "1" if the ledger has it, else "0"
-- result "OK", count of holds removed, count of H that would be negative, the keys of these,
--        per totals: 0 TAKEN | 2 OLDER | 3 ABSENT, then L G B S H D C Cv Cd W (or nil, 0)
--
-- An attempt goes only if it is the one named and its deadline now is not after reaped_to: an
-- Extend may have moved it meanwhile. Jobs in the ledger are marked FINAL, their settle was lost.

-- luacheck: read globals call amount load flush push totals raise attempt_of give_back
-- luacheck: read globals below_zero
local tenant, reaped_to = ARGV[4], amount(ARGV[5])
local count, jobs = ARGV[6] + 0, ARGV[7] + 0
local took = {}
local at = 8
for i = 1, count do
    local name = KEYS[5 + i]
    local t, q = totals(at), load(name)
    if q then
        raise(t, q)
        took[i] = q.L == t.L and 0 or 2
    else
        took[i] = 3
    end
    at = at + 9
end
local removed, final, gone = {}, {}, {}
for _ = 1, jobs do
    local job = ARGV[at]
    local entry = not gone[job] and call('HGET', KEYS[3], job)
    if entry then
        local attempt, deadline = attempt_of(entry)
        if attempt == ARGV[at + 1] and deadline <= reaped_to then
            give_back(tenant, entry)
            gone[job] = true
            removed[#removed + 1] = job
        end
    end
    if ARGV[at + 2] == '1' then
        final[#final + 1] = job
    end
    at = at + 3
end

flush()
if #removed > 0 then
    call('HDEL', KEYS[3], unpack(removed))
    call('ZREM', KEYS[4], unpack(removed))
end
if #final > 0 then
    call('SADD', KEYS[5], unpack(final))
    call('EXPIRE', KEYS[5], '1200', 'NX')
end
local first = call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if first[1] then
    call('ZADD', KEYS[2], first[2], tenant)
else
    call('ZREM', KEYS[2], tenant)
end
local out = {'OK', #removed, #below_zero}
for i = 1, #below_zero do
    out[#out + 1] = below_zero[i]
end
for i = 1, count do
    out[#out + 1] = took[i]
    push(out, KEYS[5 + i])
end
return out
