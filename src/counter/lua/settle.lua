#!lua flags=allow-oom
-- settle: what a COMMIT in the database decided reaches Redis. It frees memory, so it may run when
-- Redis is full.
--
-- KEYS  1 a, then per tenant: h, x:<tenant>, f (current bucket), then per totals its t key
--       (and the t keys of the jobs' entries, see hold.lua)
-- ARGV  1-3 guard   4 count of tenants   5 count of totals
--       per totals: "limit:period" L G B S D C Cv Cd
--       per tenant: tenant, count of jobs committed, count of attempts released,
--                   jobs committed, jobs released, attempt "epoch.seq" of each job released
-- result "OK", count of H that would be negative, the keys of these,
--        per totals: 0 TAKEN | 2 OLDER (another lease) | 3 ABSENT, then L G B S H D C Cv Cd W
--        (or nil, 0)
--
-- A commit removes whatever hold the job has and marks the job FINAL; a release removes exactly its
-- attempt. Totals never create a key: a key that is missing gets them with the next fill.

-- luacheck: read globals call load flush push totals raise attempt_of give_back below_zero
local tenants, count = ARGV[4] + 0, ARGV[5] + 0
local took = {}
local at = 6
for i = 1, count do
    local t, q = totals(at), load(KEYS[1 + 3 * tenants + i])
    if q then
        raise(t, q)
        took[i] = q.L == t.L and 0 or 2
    else
        took[i] = 3
    end
    at = at + 9
end
local writes, w = {}, 0
for t = 1, tenants do
    local h, x, f = KEYS[3 * t - 1], KEYS[3 * t], KEYS[3 * t + 1]
    local tenant, committed, released = ARGV[at], ARGV[at + 1] + 0, ARGV[at + 2] + 0
    local before = at + 2 -- of its first job
    local jobs = committed + released
    local entries = call('HMGET', h, unpack(ARGV, before + 1, before + jobs))
    local hdel, zrem, n, gone = {'HDEL', h}, {'ZREM', x}, 2, {}
    for i = 1, jobs do
        local job, entry = ARGV[before + i], entries[i]
        if entry and not gone[job]
            and (i <= committed or attempt_of(entry) == ARGV[before + released + i]) then
            give_back(tenant, entry)
            gone[job] = true
            n = n + 1
            hdel[n], zrem[n] = job, job
        end
    end
    if n > 2 then
        writes[w + 1], writes[w + 2] = hdel, zrem
        w = w + 2
    end
    if committed > 0 then
        writes[w + 1] = {'SADD', f, unpack(ARGV, before + 1, before + committed)}
        writes[w + 2] = {'EXPIRE', f, '1200', 'NX'}
        w = w + 2
    end
    at = before + jobs + released + 1
end

flush()
for i = 1, w do
    call(unpack(writes[i]))
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
