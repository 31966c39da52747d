#!lua flags=allow-oom
-- settle: what a COMMIT in the database decided reaches Redis. It frees memory, so it may run when
-- Redis is full.
--
-- KEYS  1 a, then per tenant: h, x:<tenant>, f (current bucket), then per totals its t key
--       (and the t keys of the jobs' entries, see hold.lua)
-- ARGV  1-3 guard   4 count of tenants   5 count of totals   6 count of jobs
--       per tenant: tenant
--       per totals: "limit:period" L G B S D C Cv Cd
--       per job: index of its tenant, job, "" if committed, else the released attempt "epoch.seq"
-- result "OK", count of H that would be negative, the keys of these,
--        per totals: 0 TAKEN | 2 OLDER (another lease) | 3 ABSENT, then L G B S H D C Cv Cd W
--        (or nil, 0)
--
-- A commit removes whatever hold the job has and marks the job FINAL; a release removes exactly its
-- attempt. Totals never create a key: a key that is missing gets them with the next fill.

-- luacheck: read globals call load dirty flush push totals raise attempt_of give_back below_zero
local tenants, count, jobs = ARGV[4] + 0, ARGV[5] + 0, ARGV[6] + 0
local named, attempts, removed, final = {}, {}, {}, {}
for t = 1, tenants do
    named[t], attempts[t], removed[t], final[t] = {}, {}, {}, {}
end
local at = 7 + tenants + 9 * count
for _ = 1, jobs do
    local t = ARGV[at] + 0
    local n = #named[t] + 1
    named[t][n], attempts[t][n] = ARGV[at + 1], ARGV[at + 2]
    at = at + 3
end
for t = 1, tenants do
    local entries, gone = call('HMGET', KEYS[3 * t - 1], unpack(named[t])), {}
    for i = 1, #entries do
        local job, attempt, entry = named[t][i], attempts[t][i], entries[i]
        if entry and not gone[job] and (attempt == '' or attempt_of(entry) == attempt) then
            give_back(ARGV[6 + t], entry)
            gone[job] = true
            removed[t][#removed[t] + 1] = job
        end
        if attempt == '' then
            final[t][#final[t] + 1] = job
        end
    end
end
local took = {}
at = 7 + tenants
for i = 1, count do
    local name = KEYS[1 + 3 * tenants + i]
    local t, q = totals(at), load(name)
    if q then
        raise(t, q)
        dirty(name)
        took[i] = q.L == t.L and 0 or 2
    else
        took[i] = 3
    end
    at = at + 9
end

flush()
for t = 1, tenants do
    if #removed[t] > 0 then
        call('HDEL', KEYS[3 * t - 1], unpack(removed[t]))
        call('ZREM', KEYS[3 * t], unpack(removed[t]))
    end
    if #final[t] > 0 then
        call('SADD', KEYS[3 * t + 1], unpack(final[t]))
        call('EXPIRE', KEYS[3 * t + 1], 1200)
    end
end
local out = {'OK', #below_zero}
for i = 1, #below_zero do
    out[#out + 1] = below_zero[i]
end
for i = 1, count do
    out[#out + 1] = took[i]
    push(out, KEYS[1 + 3 * tenants + i])
end
return out
