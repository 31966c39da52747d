#!lua flags=allow-oom
-- due: which tenants have holds past their deadline, or which holds of a tenant are.
--
-- KEYS  1 a, then t of the tenant asked for
-- ARGV  1-4 guard   5 now   6 most answers   7 tenant ("0": which tenants)
-- result "OK", then tenants, or "tenant=job" and entry of each hold, soonest deadline first
--
-- A tenant's score in x may be earlier than its earliest deadline, because notify and extend leave
-- it alone. Such a score is put right here, so that it comes up once; a tenant without holds has
-- the score inf. A hold that the index names and t does not have was lost: it is due like the
-- others, with a text that nobody can read.

-- luacheck: read globals call shown lost_text base amount PLACES place_of deadline_of
-- luacheck: read globals index_first index_upto
local now, max = amount(ARGV[5]), amount(ARGV[6])
local out, x_name = {'OK'}, base .. 'x:' .. ARGV[4]
if ARGV[7] ~= '0' then
    local tenant, x = ARGV[7], call('HGET', KEYS[2], 'x')
    local jobs, places = index_upto(tenant, x, place_of(now, PLACES - 1), max)
    local entries = #jobs > 0 and call('HMGET', KEYS[2], unpack(jobs)) or {}
    for i = 1, #jobs do
        out[#out + 1], out[#out + 2] = jobs[i], shown(entries[i]) or lost_text(places[i])
    end
    return out
end
local candidates = call('ZRANGEBYSCORE', x_name, '-inf', now, 'LIMIT', 0, 4 * max)
for i = 1, #candidates do
    local tenant = candidates[i]
    local read, first = pcall(function()
        return index_first(tenant, call('HGET', base .. 't:' .. tenant, 'x'))
    end)
    if not read then -- whoever asks for its holds finds out more
        out[#out + 1] = #out <= max and tenant or nil
    elseif not first then
        call('ZADD', x_name, 'inf', tenant)
    elseif deadline_of(first) > now then
        call('ZADD', x_name, deadline_of(first), tenant)
    elseif #out <= max then
        out[#out + 1] = tenant
    end
end
return out
