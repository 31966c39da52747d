# Writes the files of sql/ as C arrays: cmake -DOUT=migrations.c "-DFILES=001_a.sql;..." -P embed.cmake
#
# A line `... 256 -- NAME, folder/header.h` says that its last number is C's NAME: if it is not, the file does
# not compile.
set(includes "#include \"ledger/migrations.h\"\n")
set(asserts "")
set(arrays "")
set(table "")
set(before 0)
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  string(REGEX MATCH "^[0-9]+" digits ${name})
  string(REGEX REPLACE "^0+" "" version ${digits})
  # A database that has reached a number never gets what comes in below it.
  math(EXPR expected "${before} + 1")
  if(NOT version EQUAL expected)
    message(FATAL_ERROR "${name}: after migration ${before} comes ${expected}")
  endif()
  set(before ${version})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "((0x..,){20})" "\\1\n    " bytes "${bytes}")
  string(APPEND arrays "static const char text_${digits}[] = {\n    ${bytes}0};\n\n")
  string(APPEND table "    {${version}, \"${name}\", text_${digits}},\n")
  file(STRINGS ${file} shared REGEX "[0-9][^0-9]*-- [A-Z_0-9]+, [a-z_/]+[.]h$")
  foreach(line IN LISTS shared)
    string(REGEX MATCH "([0-9]+)[^0-9]*-- ([A-Z_0-9]+), ([a-z_/]+[.]h)$" match "${line}")
    string(APPEND includes "#include \"${CMAKE_MATCH_3}\"\n")
    string(APPEND asserts
      "_Static_assert(${CMAKE_MATCH_2} == ${CMAKE_MATCH_1}, \"${name} has another ${CMAKE_MATCH_2}\");\n")
  endforeach()
endforeach()
file(WRITE ${OUT}
  "${includes}\n${asserts}\n${arrays}"
  "const struct migration migrations[] = {\n${table}};\n\n"
  "const size_t migrations_count = sizeof(migrations) / sizeof(migrations[0]);\n")
