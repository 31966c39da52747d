# Writes one C file with a script: cmake -DOUT=x.c -DNAME=reserve -DPIECES=guard.lua,reserve.lua -P.
# The pieces are joined; a first line "#!lua" of the last one (its flags) moves to the very front.
#
# A line `local X = 256 -- NAME, folder/header.h` says that the number is C's NAME: if it is not, the file does
# not compile.
string(REPLACE "," ";" pieces "${PIECES}")
set(text "")
set(first "")
set(includes "")
set(asserts "")
foreach(piece IN LISTS pieces)
  file(READ ${piece} hex HEX)
  file(STRINGS ${piece} line LIMIT_COUNT 1)
  if(line MATCHES "^#!lua")
    string(LENGTH "${line}" length)
    math(EXPR length "2 * (${length} + 1)")
    string(SUBSTRING "${hex}" 0 ${length} first)
    string(SUBSTRING "${hex}" ${length} -1 hex)
  endif()
  string(APPEND text "${hex}")
  get_filename_component(file ${piece} NAME)
  file(STRINGS ${piece} shared REGEX "^local [A-Z_]+ = '?[0-9]+'? -- [A-Z_0-9]+, [a-z_/]+[.]h$")
  foreach(line IN LISTS shared)
    string(REGEX MATCH "([0-9]+)'? -- ([A-Z_0-9]+), ([a-z_/]+[.]h)$" match "${line}")
    string(APPEND includes "#include \"${CMAKE_MATCH_3}\"\n")
    string(APPEND asserts
      "_Static_assert(${CMAKE_MATCH_2} == ${CMAKE_MATCH_1}, \"${file} has another ${CMAKE_MATCH_2}\");\n")
  endforeach()
endforeach()
string(REGEX REPLACE "(..)" "0x\\1," text "${first}${text}")
set(line "................................................................................")
string(REGEX REPLACE "(${line})" "\\1\n" text "${text}")
file(WRITE ${OUT} "${includes}${asserts}"
  "extern const char script_${NAME}[];\nconst char script_${NAME}[] = {\n${text}0\n};\n")
