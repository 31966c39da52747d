-- Further shards of the tag that the script is about: all that has arrived for a tag goes in one.
--
-- ARGV  5 how many, then of each its number and "epoch:nonce"
-- result {"LOST", ...} as the guard says it, of the first of them that Redis has otherwise
--
-- shards_end      the last of these arguments

-- luacheck: push ignore 211
-- luacheck: read globals call LAYOUT
local shards_end = 5 + 2 * ARGV[5]
if shards_end > 5 then
    local names = {}
    for i = 6, shards_end, 2 do
        names[#names + 1] = ARGV[i]
    end
    local marks = call('HMGET', KEYS[1], unpack(names))
    for i = 1, #names do
        if marks[i] ~= ARGV[5 + 2 * i] then
            local epoch, nonce = (marks[i] or '0:'):match('^(%d+):(.*)$')
            return {'LOST', 'master', ARGV[1], epoch, nonce, LAYOUT}
        end
    end
end
-- luacheck: pop
