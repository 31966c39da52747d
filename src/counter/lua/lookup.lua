#!lua flags=no-writes
-- lookup: what jobs of a tenant hold now.
--
-- KEYS  1 a   2 h
-- ARGV  1-3 guard, then the jobs
-- result "OK", per job its entry, or nil

-- luacheck: read globals call
local out = call('HMGET', KEYS[2], unpack(ARGV, 4))
table.insert(out, 1, 'OK')
return out
