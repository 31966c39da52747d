#!lua flags=no-writes,allow-stale
-- observe: what this Redis is for the shard. Without the guard: this is how one finds out.
--
-- KEYS  1 a
-- ARGV  none
-- result "SEEN", role, replid, epoch ("0": no key), nonce, maxmemory-policy

local info = redis.call('INFO', 'replication')
local authority = redis.call('HMGET', KEYS[1], 'e', 'n')
return {'SEEN', info:match('role:(%w+)'), info:match('master_replid:(%w+)'),
    authority[1] or '0', authority[2] or '',
    redis.call('INFO', 'memory'):match('maxmemory_policy:([%w-]+)')}
