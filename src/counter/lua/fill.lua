-- fill: a grant reaches Redis, and with it the config version.
--
-- KEYS  1 a, then per tenant c, then per totals its t key
-- ARGV  1-3 guard   4 count of tenants   5 count of totals   6 count of versions
--       per totals: index of the tenant, then "limit:period" L G B S D C Cv Cd, then what is
--       lent beyond the cap
--       per version: index of the tenant, version
-- result "OK", per totals: 0 TAKEN | 1 VANISHED | 2 OLDER, then L G B S H D C Cv Cd W
--        (or nil and the lease that the key was filled with last)
--
-- Creating or resetting a key writes its lease into c, which later tells a key that was never
-- filled from one that is gone. A version is set if (epoch, version) is larger than what is there.
--
-- Who creates a key also looks at a few others of the tenant and forgets those whose lease ended
-- long ago with nothing held: past periods go so, and an idle quota is filled anew at its next use.
-- That is safe because a lease that ended admits nothing, and whatever pushes its end brings G, B
-- and S along. These names are built from c; every other key is in KEYS.

-- luacheck: read globals call amount load flush push totals fill withhold
local FORGET_AFTER_MS, FORGET_LOOKS = 7200000, 8
local tenants, count, versions = ARGV[4] + 0, ARGV[5] + 0, ARGV[6] + 0
local out, took, after = {'OK'}, {}, {}
local writes = {}
local forgotten = {} -- name of a t key -> {c, field}

-- Leases end at most half an hour ahead, so t.D stands for now.
local function forget_some(c, name, t)
    local head = name:sub(1, -#t.field - 1)
    for _, field in ipairs(call('HRANDFIELD', c, FORGET_LOOKS)) do
        local other = field ~= 'v' and load(head .. field)
        if other and other.H == 0 and other.D + FORGET_AFTER_MS < t.D then
            forgotten[head .. field] = {c, field}
        end
    end
end

local at = 7
for i = 1, count do
    local c, name = KEYS[1 + ARGV[at]], KEYS[1 + tenants + i]
    local t = totals(at + 1)
    local was = after[name] or call('HGET', c, t.field)
    took[i] = fill(t, name, was)
    if took[i] == 0 then
        withhold(load(name), t, amount(ARGV[at + 10]))
    end
    if took[i] == 0 and not (was and was + 0 == t.L) then
        was = t.L
        writes[#writes + 1] = {c, t.field, t.L}
        forget_some(c, name, t)
    end
    after[name] = was
    at = at + 11
end
local newest = {}
for _ = 1, versions do
    local c, version = KEYS[1 + ARGV[at]], amount(ARGV[at + 1])
    local now = newest[c] or call('HGET', c, 'v')
    local e, v = (now or '-1.-1'):match('^(%-?%d+)%.(%-?%d+)$')
    local epoch = ARGV[2] + 0
    if epoch > e + 0 or (epoch == e + 0 and version > v + 0) then
        newest[c] = ARGV[2] .. '.' .. ARGV[at + 1]
        writes[#writes + 1] = {c, 'v', newest[c]}
    end
    at = at + 2
end
flush()
for i = 1, #writes do
    call('HSET', unpack(writes[i]))
end
for name, place in pairs(forgotten) do
    if after[name] == nil then
        call('DEL', name)
        call('HDEL', unpack(place))
    end
end
for i = 1, count do
    out[#out + 1] = took[i]
    push(out, KEYS[1 + tenants + i], after[KEYS[1 + tenants + i]])
end
return out
