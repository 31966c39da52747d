#!lua flags=allow-oom
-- init: a shard begins an epoch here. Only a smaller epoch gives way, and only on the incarnation
-- that was meant. Leases, holds and versions of earlier epochs stay; every script tells them apart.
--
-- KEYS  1 a
-- ARGV  1 replid   2 epoch   3 nonce
-- result "SEEN", role, replid, epoch, nonce: after the script

local info = redis.call('INFO', 'replication')
local role, replid = info:match('role:(%w+)'), info:match('master_replid:(%w+)')
local before = redis.call('HGET', KEYS[1], 'e')
if role == 'master' and replid == ARGV[1] and (before or 0) + 0 < ARGV[2] + 0 then
    redis.call('HSET', KEYS[1], 'e', ARGV[2], 'n', ARGV[3], 'seq', 0)
end
local after = redis.call('HMGET', KEYS[1], 'e', 'n')
return {'SEEN', role, replid, after[1] or '0', after[2] or ''}
