-- fill: a grant reaches Redis, and with it the config version.
--
-- KEYS  1 a, then per tenant t and c
-- ARGV  1-4 guard   5 count of totals   6 count of versions   7 now ("0": not known)
--       per totals: index of the tenant, then "limit:period" L G B S D C Cv Cd E, then what is
--       lent beyond the cap
--       per version: index of the tenant, version
-- result "OK", per totals: 0 TAKEN | 1 VANISHED | 2 OLDER, then the quota's text (or nil and the
--        lease that it was filled with last)
--
-- A version is set if it is larger than what is there, or if that is of another epoch: none is
-- later than the guard's. Who creates a quota also looks for quotas of the tenant whose period is
-- over (ended.lua).

-- luacheck: read globals call amount load flush push totals TOTALS withhold fill_all keep_filled
-- luacheck: read globals forget_ended base check_whole
local LOOKS = 24
local count, versions, now = ARGV[5] + 0, ARGV[6] + 0, amount(ARGV[7])
local took, filled, after = fill_all(8, count, 1, function(t, q, at)
    withhold(q, t, amount(ARGV[at + 1 + TOTALS]))
end)
local newest = {}
local at = 8 + count * (2 + TOTALS)
for _ = 1, versions do
    local t, version = KEYS[2 * ARGV[at]], amount(ARGV[at + 1])
    local has = newest[t] or call('HGET', t, 'v')
    if not has then
        check_whole(t, KEYS[2 * ARGV[at] + 1])
    end
    local e, v = (has or '-1.-1'):match('^(%-?%d+)%.(%-?%d+)$')
    local epoch = ARGV[2] + 0
    if epoch ~= e + 0 or version > v + 0 then
        newest[t] = ARGV[2] .. '.' .. ARGV[at + 1]
    end
    at = at + 2
end
flush()
keep_filled(filled)
for t, version in pairs(newest) do
    if call('HSET', t, 'v', version) == 1 then
        call('ZADD', base .. 'x:' .. ARGV[4], 'NX', 'inf', t:match('%d+$'))
    end
end
for t, of in pairs(filled) do
    if of.new > 0 and now > 0 then
        forget_ended(t, of.c, now, LOOKS, after[t])
    end
end
local out = {'OK'}
at = 8
for i = 1, count do
    local t = KEYS[2 * ARGV[at]]
    out[#out + 1] = took[i]
    push(out, t, ARGV[at + 1], after[t][ARGV[at + 1]])
    at = at + 2 + TOTALS
end
return out
