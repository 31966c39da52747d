#!lua flags=allow-oom
-- init: a shard begins an epoch here. Only a smaller epoch gives way, and only on the incarnation
-- that was meant. Leases, holds and versions of earlier epochs stay; every script tells them apart.
-- An earlier layout gives way with all shards of the tag: each begins anew. A later one never does.
-- Where a cannot be read, or is so far ahead that no database can have forgotten all epochs
-- between, it gives way likewise.
--
-- KEYS  1 a
-- ARGV  1 replid   2 epoch   3 "epoch:nonce"   4 shard
-- result "SEEN", role, replid, epoch, nonce, layout: after the script

local LAYOUT = '2' -- COUNTER_LAYOUT, counter/counter.h
local EPOCHS_AHEAD = 1048576 -- LEASE_EPOCHS_AHEAD, quota/lease.h
local info = redis.call('INFO', 'replication')
local role, replid = info:match('role:(%w+)'), info:match('master_replid:(%w+)')
local before = redis.pcall('HMGET', KEYS[1], 'l', ARGV[4], 'seq') -- no hash: an error
local layout, hold_seq = tonumber(before[1] or 0), before[3] or '0'
if not layout or layout < 0 or layout % 1 ~= 0 or not hold_seq:find('^%d+$') or #hold_seq > 15 then
    layout = 0 -- no script has written it
end
if role == 'master' and replid == ARGV[1] and layout <= LAYOUT + 0 then
    if layout < LAYOUT + 0 then
        redis.call('DEL', KEYS[1])
        redis.call('HSET', KEYS[1], 'l', LAYOUT)
        before[2] = false
    end
    local epoch = (before[2] or ''):match('^(%d+):%w+$') or '0'
    if #epoch > 15 or epoch + 0 < ARGV[2] + 0 or epoch - ARGV[2] > EPOCHS_AHEAD then
        redis.call('HSET', KEYS[1], ARGV[4], ARGV[3])
    end
end
local after = redis.pcall('HMGET', KEYS[1], 'l', ARGV[4])
local epoch, nonce = (after[2] or ''):match('^(%d+):(%w+)$')
if after[1] ~= LAYOUT or not epoch or #epoch > 15 or #nonce > 32 then
    epoch, nonce = '0', ''
end
layout = tonumber(after[1] or 0) or 0
return {'SEEN', role, replid, epoch, nonce,
    layout >= 0 and layout < 1e6 and layout % 1 == 0 and layout or 0}
