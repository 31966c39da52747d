-- FINAL marks: jobs that were committed lately, of all tenants of the tag. A mark only spares a
-- caller who repeats a Reserve: the ledger decides, and where the mark is gone the repeat gets a
-- hold whose Commit returns the first record.
--
--   f:<generation>   set of "tenant=job", as t names holds
--   field f of a     "generation:its beginning"
--
-- A generation takes marks for FINAL_MS or until it has FINAL_MAX of them; it and the one before
-- count. So a mark counts for FINAL_MS, or for FINAL_MAX commits of the tag if these are faster.
-- What goes is unlinked, which frees it beside Redis' own thread; nothing has a TTL.
--
-- marks_known(list, from, to)  those of list[from..to] that are marked: 1 at 1 for list[from], ..
-- marks_age(now)         lets generations go that are past their time
-- marks_add(marks, now)

-- luacheck: push ignore 211
-- luacheck: read globals call authority base
local FINAL_MS = 600000 -- FINAL_MS, quota/times.h
local FINAL_MAX = 32768
local generation, generation_since = (authority[4] or '0:0'):match('^(%d+):(%d+)$')
if not generation or #generation > 15 then
    generation = 0 -- what cannot be read begins anew
end
generation = generation + 0

local function marks_key(back)
    return ('%sf:%d'):format(base, generation - back)
end

local function marks_known(list, from, to)
    local known = {}
    if generation == 0 then
        return known
    end
    for back = 0, 1 do
        local found = call('SMISMEMBER', marks_key(back), unpack(list, from, to))
        for i = 1, #found do
            if found[i] == 1 then
                known[i] = 1
            end
        end
    end
    return known
end

local function next_generation(now)
    generation, generation_since = generation + 1, now
    call('HSET', KEYS[1], 'f', ('%d:%d'):format(generation, now))
    call('UNLINK', marks_key(2))
end

local function marks_age(now)
    if generation > 0 and now - generation_since > FINAL_MS
        and call('EXISTS', marks_key(0), marks_key(1)) > 0 then
        next_generation(now)
    end
end

local function marks_add(marks, now)
    if generation == 0 or now - generation_since > FINAL_MS
        or call('SCARD', marks_key(0)) + #marks > FINAL_MAX then
        next_generation(now)
    end
    call('SADD', marks_key(0), unpack(marks))
end
-- luacheck: pop
