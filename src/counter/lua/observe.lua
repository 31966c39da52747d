#!lua flags=no-writes,allow-stale
-- observe: what this Redis is for the shard. Without the guard: this is how one finds out.
--
-- KEYS  1 a
-- ARGV  1 shard
-- result "SEEN", role, replid, epoch ("0": no key), nonce, layout ("0": no key), maxmemory-policy

local LAYOUT = '2' -- COUNTER_LAYOUT, counter/counter.h
local info = redis.call('INFO', 'replication')
local authority = redis.pcall('HMGET', KEYS[1], 'l', ARGV[1], 'seq') -- no hash: an error
local hold_seq = authority[3] or '0'
local epoch, nonce = (authority[2] or ''):match('^(%d+):(%w+)$')
if authority[1] ~= LAYOUT or not hold_seq:find('^%d+$') or #hold_seq > 15
    or not epoch or #epoch > 15 or #nonce > 32 then
    epoch, nonce = '0', '' -- it is another layout's, or no script has written it
end
local layout = tonumber(authority[1] or 0) or 0
return {'SEEN', info:match('role:(%w+)'), info:match('master_replid:(%w+)'), epoch, nonce,
    layout >= 0 and layout < 1e6 and layout % 1 == 0 and layout or 0,
    redis.call('INFO', 'memory'):match('maxmemory_policy:([%w-]+)')}
