-- What leaves Redis of a hold's text. One longer than any hold is a hand's: nobody can read it, and
-- whoever looks at it would wait for all of it, and everyone behind him.
--
-- shown(text)   text (nil stays nil), or what is no hold either but short

-- luacheck: push ignore 211
local HOLD_TEXT_MAX = 32768 -- HOLD_TEXT_MAX, quota/hold.h

local function shown(text)
    return text and #text > HOLD_TEXT_MAX and '?' or text
end
-- luacheck: pop
