-- The guard: stands in front of every script but observe and init.
--
-- KEYS[1]  q:{<tag>}:a   hash l = layout, seq = hold counter, f = state of the FINAL marks,
--                        <shard> = "epoch:nonce" of each of the tag's shards
-- ARGV[1]  replid  ARGV[2] epoch  ARGV[3] "epoch:nonce"  ARGV[4] shard: what the caller believes
-- result   {"LOST", role, replid, epoch, nonce, layout} if Redis is anything else; nothing was
--          written. Of another layout nothing else is told: epoch 0, no nonce.
--
-- A replica that was promoted, a restart, a restored dump and a second primary all have another
-- replid; an emptied Redis has no nonce. The check is in the script because a check per connection
-- is over before the write happens.
--
-- LAYOUT numbers the keys and texts of this folder. It stands in the name of every other key, so a
-- script never reads what a server of another layout wrote.

-- luacheck: push ignore 211
local call, KEYS, ARGV = redis.call, KEYS, ARGV -- locals: a global is looked up at each use
local tonumber, unpack, match = tonumber, unpack, string.match
local AMOUNT_MAX = 9007199254740991 -- AMOUNT_MAX, base/amount.h
local LAYOUT = '2' -- COUNTER_LAYOUT, counter/counter.h
local LEASE_IDS = 1048576 -- LEASE_IDS_PER_EPOCH, quota/lease.h
local PLACES = 256 -- PACKED_PLACES, counter/packed.h
local info = call('INFO', 'replication')
local authority = redis.pcall('HMGET', KEYS[1], 'l', ARGV[4], 'seq', 'f') -- no hash: an error
local hold_seq = authority[3] or '0'
if authority[2] ~= ARGV[3] or authority[1] ~= LAYOUT or not hold_seq:find('^%d+$') or #hold_seq > 15
    or not info:find('role:master', 1, true)
    or not info:find('master_replid:' .. ARGV[1], 1, true) then
    local epoch, nonce = (authority[2] or ''):match('^(%d+):(%w+)$')
    if authority[1] ~= LAYOUT or not hold_seq:find('^%d+$') or #hold_seq > 15
        or not epoch or #epoch > 15 or #nonce > 32 then
        epoch, nonce = '0', '' -- it is another layout's, or no script has written it
    end
    local layout = tonumber(authority[1] or 0) or 0
    return {'LOST', info:match('role:(%w+)'), info:match('master_replid:(%w+)'), epoch, nonce,
        layout >= 0 and layout < 1e6 and layout % 1 == 0 and layout or 0}
end

local base = KEYS[1]:sub(1, -2) .. LAYOUT .. ':' -- what every other key begins with

-- Leases below this number are of an earlier epoch (quota/lease.h): whatever is left of them is set
-- aside in the database, so nothing more may be promised from them.
local lease_floor = ARGV[2] * LEASE_IDS

-- A number from ARGV; whatever is no whole number in range ends the script before its first write.
local function amount(text)
    local n = tonumber(text)
    if not n or n < 0 or n > AMOUNT_MAX or n % 1 ~= 0 then
        error({err = 'BADARG ' .. tostring(text)})
    end
    return n
end
-- luacheck: pop
