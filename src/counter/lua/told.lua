#!lua flags=allow-oom
-- told: crossings that the database has written (levels.lua) go.
--
-- KEYS  1 a, then per tenant t
-- ARGV  1-4 guard, then per quota: index of its tenant, "limit:period", "tenant limit:period",
--       lease and n of the last crossing that is written
-- result "OK"

-- luacheck: read globals call amount base
for i = 5, #ARGV, 5 do
    local t, field = KEYS[1 + ARGV[i]], ARGV[i + 1]
    local lease, n = amount(ARGV[i + 3]), amount(ARGV[i + 4])
    local text, left = call('HGET', t, field) or '', ''
    local front, pending = text:match('^([^;]*)(.*)$')
    for entry in pending:gmatch(';[^;]*') do
        local of, at = entry:match('^;(%d+):(%d+):')
        if of + 0 > lease or of + 0 == lease and at + 0 > n then
            left = left .. entry
        end
    end
    if left ~= pending then
        call('HSET', t, field, front .. left)
    end
    if left == '' then
        call('HDEL', base .. 'p', ARGV[i + 2])
    end
end
return {'OK'}
