-- Quotas in memory: a key is read once, changed here, and written by flush at the end.
--
-- load(name)   the quota of that t key with numbers for L G B S H D C Cv Cd W, and lease: L as
--              it is stored; false: missing
-- create(name) a new one, all zero, in place of what load gave
-- flush()      writes the fields that have changed; nothing before it may have been written
-- push(out, name)  appends the 10 fields, or nil and the lease that the key was filled with last

-- luacheck: push ignore 211
-- luacheck: read globals call
local FIELDS = {'L', 'G', 'B', 'S', 'H', 'D', 'C', 'Cv', 'Cd', 'W'}
local loaded = {}
local stored = {} -- name -> numbers as Redis has them, in the order of FIELDS

local function load(name)
    local quota = loaded[name]
    if quota == nil then
        local s = call('HMGET', name, 'L', 'G', 'B', 'S', 'H', 'D', 'C', 'Cv', 'Cd', 'W')
        local lease = s[1]
        for f = 1, lease and 10 or 0 do
            s[f] = (s[f] or 0) + 0
        end
        quota = lease and {lease = lease, L = s[1], G = s[2], B = s[3], S = s[4], H = s[5],
            D = s[6], C = s[7], Cv = s[8], Cd = s[9], W = s[10]}
        loaded[name], stored[name] = quota, quota and s
    end
    return quota
end

local function create(name)
    local quota = {L = 0, G = 0, B = 0, S = 0, H = 0, D = 0, C = 0, Cv = -1, Cd = 0, W = 0}
    loaded[name], stored[name] = quota, {}
    return quota
end

local function flush()
    for name, before in pairs(stored) do
        local quota = loaded[name]
        local set, n = {'HSET', name}, 2
        for f = 1, quota and 10 or 0 do
            local now = quota[FIELDS[f]]
            if now ~= before[f] then
                set[n + 1], set[n + 2] = FIELDS[f], now
                n = n + 2
            end
        end
        if n > 2 then
            call(unpack(set))
        end
    end
end

local function push(out, name, was)
    local quota, o = loaded[name], #out
    if not quota then
        out[o + 1], out[o + 2] = false, was or 0
        return
    end
    for i = 1, 10 do
        out[o + i] = quota[FIELDS[i]]
    end
end
-- luacheck: pop
