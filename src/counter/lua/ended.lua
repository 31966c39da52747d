-- Quotas of periods that have been over for a minute go from t and c: nothing is lent or held in
-- them any more. fill looks at a few whenever it creates one, check.lua at some of every tenant it
-- comes by, so what one leaves another finds. The minute is for a database that has failed over and
-- lost commits of the end of a period: until it is compared, only Redis knows of them (survey.lua).
--
-- That is safe because the period is over in the database as well: no grant raises such a quota,
-- and a late fill that makes it anew brings a lease whose deadline has passed, or that of an
-- Extend, whose totals are those of the row.
--
-- forget_ended(t, c, now, looks, spared)  looks at that many; not at the fields of spared

-- luacheck: push ignore 211
-- luacheck: read globals call
-- One with crossings that are not told yet (levels.lua) stays until they are.
local STAYS_MS = 60000 -- PERIOD_IN_REDIS_MS, quota/times.h
local ENDED = '^0 %d+ %d+ %d+ %d+ (%d+) %d+ %d+ %d+ %d+ (%d+)[ |%d]*$'

local function forget_ended(t, c, now, looks, spared)
    local fields = call('HRANDFIELD', c, looks)
    local texts = #fields > 0 and call('HMGET', t, unpack(fields)) or {}
    local gone = {}
    for i = 1, #fields do
        local D, E = (texts[i] or ''):match(ENDED)
        local over = D and D + 0 <= now and E + 0 > 0 and E + STAYS_MS <= now
        if over and not (spared and spared[fields[i]]) then
            gone[#gone + 1] = fields[i]
        end
    end
    if #gone > 0 then
        call('HDEL', t, unpack(gone))
        call('HDEL', c, unpack(gone))
        call('HINCRBY', t, 'q', -#gone)
    end
    return #gone
end
-- luacheck: pop
