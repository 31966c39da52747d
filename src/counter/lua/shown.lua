-- What leaves Redis of a hold's text. One longer than any hold is a hand's: nobody can read it, and
-- whoever looks at it would wait for all of it, and everyone behind him.
--
-- shown(text)   text (nil stays nil), or what is no hold either but short
-- lost_text(place)   what stands for the text of a hold that the index names and t has not, where
--                    it is called due: nobody can read it, like the texts of a hand (discard.lua)

-- luacheck: push ignore 211
local HOLD_TEXT_MAX = 32768 -- HOLD_TEXT_MAX, quota/hold.h

local function shown(text)
    return text and #text > HOLD_TEXT_MAX and '?' or text
end

local function lost_text(place)
    return '0:0:' .. place .. ':0!'
end
-- luacheck: pop
