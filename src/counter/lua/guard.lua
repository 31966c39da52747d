-- The guard: stands in front of every script but observe and init.
--
-- KEYS[1]  q:{s<shard>}:a   hash e = epoch, n = nonce, seq = hold counter
-- ARGV[1]  replid  ARGV[2] epoch  ARGV[3] nonce: what the caller believes of this shard
-- result   {"LOST", role, replid, epoch, nonce} if Redis is anything else; nothing was written
--
-- A replica that was promoted, a restart, a restored dump and a second primary all have another
-- replid; an emptied Redis has no nonce. The check is in the script because a check per connection
-- is over before the write happens.

-- luacheck: push ignore 211
local call, KEYS, ARGV = redis.call, KEYS, ARGV -- locals: a global is looked up at each use
local AMOUNT_MAX = 9007199254740991
local info = call('INFO', 'replication')
local authority = call('HMGET', KEYS[1], 'e', 'n', 'seq')
if authority[1] ~= ARGV[2] or authority[2] ~= ARGV[3]
    or not info:find('role:master', 1, true)
    or not info:find('master_replid:' .. ARGV[1], 1, true) then
    return {'LOST', info:match('role:(%w+)'), info:match('master_replid:(%w+)'),
        authority[1] or '0', authority[2] or ''}
end

-- Leases below this number are of an earlier epoch (quota/lease.h): whatever is left of them is set
-- aside in the database, so nothing more may be promised from them.
local lease_floor = ARGV[2] * 1048576

-- A number from ARGV; whatever is no whole number in range ends the script before its first write.
local function amount(text)
    local n = tonumber(text)
    if not n or n < 0 or n > AMOUNT_MAX or n % 1 ~= 0 then
        error({err = 'BADARG ' .. tostring(text)})
    end
    return n
end
-- luacheck: pop
