# Writes the files of sql/ as C arrays: cmake -DOUT=migrations.c "-DFILES=001_a.sql;..." -P embed.cmake
set(arrays "")
set(table "")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  string(REGEX MATCH "^[0-9]+" digits ${name})
  string(REGEX REPLACE "^0+" "" version ${digits})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "((0x..,){20})" "\\1\n    " bytes "${bytes}")
  string(APPEND arrays "static const char text_${digits}[] = {\n    ${bytes}0};\n\n")
  string(APPEND table "    {${version}, \"${name}\", text_${digits}},\n")
endforeach()
file(WRITE ${OUT}
  "#include \"ledger/migrations.h\"\n\n"
  "${arrays}"
  "const struct migration migrations[] = {\n${table}};\n\n"
  "const size_t migrations_count = sizeof(migrations) / sizeof(migrations[0]);\n")
