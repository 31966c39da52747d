#!lua flags=no-writes
-- holds: a page of a tenant's holds, soonest deadline first, equal deadlines by job in byte order.
--
-- KEYS  1 a   2 h   3 x:<tenant>
-- ARGV  1-3 guard   4 now   5 most answers   6 deadline of the cursor ("-1": from the start)
--       7 job of the cursor; the page begins strictly after (deadline, job)
-- result "OK", count of all, count of due ones, then job and entry of each

-- luacheck: read globals call
-- Lua's own < on strings follows the locale of the process.
local function follows(job, other)
    for i = 1, math.min(#job, #other) do
        local a, b = job:byte(i), other:byte(i)
        if a ~= b then
            return a > b
        end
    end
    return #job > #other
end

local from = 0
if ARGV[6] ~= '-1' then
    from = call('ZCOUNT', KEYS[3], '-inf', '(' .. ARGV[6])
    local to = from + call('ZCOUNT', KEYS[3], ARGV[6], ARGV[6])
    while from < to do
        local middle = math.floor((from + to) / 2)
        if follows(call('ZRANGE', KEYS[3], middle, middle)[1], ARGV[7]) then
            to = middle
        else
            from = middle + 1
        end
    end
end
local out = {'OK', call('ZCARD', KEYS[3]), call('ZCOUNT', KEYS[3], '-inf', ARGV[4])}
if ARGV[5] + 0 > 0 then
    local jobs = call('ZRANGE', KEYS[3], from, from + ARGV[5] - 1)
    for i = 1, #jobs do
        out[2 + 2 * i] = jobs[i]
        out[3 + 2 * i] = call('HGET', KEYS[2], jobs[i])
    end
end
return out
