#!lua flags=allow-oom
-- notify: what a COMMIT in the database decided reaches Redis. It frees memory, so it may run when
-- Redis is full.
--
-- KEYS  1 a, then per tenant its t
-- ARGV  1-4 guard   5 further shards (shards.lua); then now, count of tenants
--       per tenant: count of totals, count of jobs committed, count of attempts released, then what
--                   is
--                   read of t: "limit:period" of the totals, "x", jobs committed, jobs released
--                   ("tenant=job"); then attempt "epoch.seq" of each job released; then per totals
--                   L G B S D C Cv Cd E; then the tenant
-- result "OK", count of H that would be negative, the names of these,
--        per tenant and totals: 0 TAKEN | 2 OLDER (another lease) | 3 ABSENT, then the quota's text
--        (or nil, 0)
--
-- A commit removes whatever hold the job has and marks the job FINAL; a release removes exactly its
-- attempt. Totals never create a quota: one that is missing gets them with the next fill.

-- luacheck: read globals call amount load prefetch flush push totals TOTALS raise attempt_of
-- luacheck: read globals give_back below_zero index_remove marks_add shards_end
local now, tenants = amount(ARGV[shards_end + 1]), ARGV[shards_end + 2] + 0
local NUMBERS = TOTALS - 1
local marks, m = {}, 0
local blocks = {}
local at = shards_end + 3
for n = 1, tenants do
    local count, committed, released = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0
    local jobs, t, fields = committed + released, KEYS[1 + n], at + 3
    local first_job = fields + count + 1
    local attempts = first_job + jobs
    local texts = prefetch(t, count, ARGV, fields, attempts - 1)
    local block = {t = t, x = texts[count + 1], took = {}, fields = fields, places = {},
        members = {}}
    for i = 1, count do
        local given = totals(fields + i - 1, attempts + released + NUMBERS * (i - 1))
        local q = load(t, given.field)
        if q then
            raise(given, q)
            block.took[i] = q.L == given.L and 0 or 2
        else
            block.took[i] = 3
        end
    end
    for i = 1, committed do
        marks[m + i] = ARGV[first_job + i - 1]
    end
    m = m + committed
    local places, members, gone, removed = block.places, block.members, {}, 0
    for i = 1, jobs do
        local entry = texts[count + 1 + i]
        if entry then
            local job = ARGV[first_job + i - 1]
            if not gone[job]
                and (i <= committed or attempt_of(entry) == ARGV[attempts + i - committed - 1]) then
                local place = give_back(t, entry)
                if place then
                    gone[job] = true
                    removed = removed + 1
                    places[removed], members[removed] = place, job
                end
            end
        end
    end
    at = attempts + released + NUMBERS * count
    block.tenant = ARGV[at]
    at = at + 1
    blocks[n] = block
end

flush()
for n = 1, tenants do
    local block = blocks[n]
    if block.members[1] then
        if not index_remove(block.tenant, block.x, block.places, block.members) then
            call('HDEL', block.t, 'x')
        end
        call('HDEL', block.t, unpack(block.members))
    end
end
if m > 0 then
    marks_add(marks, now)
end
local out = {'OK', #below_zero}
for i = 1, #below_zero do
    out[#out + 1] = below_zero[i]
end
for n = 1, tenants do
    local block = blocks[n]
    for i = 1, #block.took do
        out[#out + 1] = block.took[i]
        push(out, block.t, ARGV[block.fields + i - 1])
    end
end
return out
