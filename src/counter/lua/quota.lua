-- Quotas in memory: a key is read once, changed here, and written by flush at the end.
--
-- load(name)   the quota of that t key with numbers for L G B S H D C Cv Cd W; false: missing
-- create(name) a new one, all zero
-- dirty(name)  remembers that it has to be written
-- flush()      writes; nothing before it may have been written by the script
-- push(out, name)  appends the 10 fields, or nil and the lease that the key was filled with last

-- luacheck: push ignore 211
-- luacheck: read globals call
local FIELDS = {'L', 'G', 'B', 'S', 'H', 'D', 'C', 'Cv', 'Cd', 'W'}
local loaded, changed, changed_list = {}, {}, {}

local function load(name)
    local quota = loaded[name]
    if quota == nil then
        local s = call('HMGET', name, 'L', 'G', 'B', 'S', 'H', 'D', 'C', 'Cv', 'Cd', 'W')
        quota = s[1] and {L = s[1] + 0, G = s[2] + 0, B = s[3] + 0, S = s[4] + 0, H = s[5] + 0,
            D = s[6] + 0, C = s[7] + 0, Cv = s[8] + 0, Cd = (s[9] or 0) + 0,
            W = (s[10] or 0) + 0}
        loaded[name] = quota
    end
    return quota
end

local function dirty(name)
    if not changed[name] then
        changed[name] = true
        changed_list[#changed_list + 1] = name
    end
end

local function create(name)
    local quota = {L = 0, G = 0, B = 0, S = 0, H = 0, D = 0, C = 0, Cv = -1, Cd = 0, W = 0}
    loaded[name] = quota
    dirty(name)
    return quota
end

local function flush()
    for i = 1, #changed_list do
        local name = changed_list[i]
        local q = loaded[name]
        call('HSET', name, 'L', q.L, 'G', q.G, 'B', q.B, 'S', q.S, 'H', q.H, 'D', q.D,
            'C', q.C, 'Cv', q.Cv, 'Cd', q.Cd, 'W', q.W)
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
