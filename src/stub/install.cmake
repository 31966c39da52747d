# libcstub: the stub layer for programs outside this tree, in one archive, with headers, generator and
# cstub.pc. README.md, "Outside Holdfast", says how it is used.
#
# The runtime and what it uses of base/ become one object in which all names but stub_... are local, so
# that an application may have an arena_alloc or a log_write of its own. accept4 and sendmsg stay global:
# they stand in front of libc's for gRPC Core (accept.h, cork.h). The generated parts stay objects of
# their own; a program that brings its own google/protobuf/timestamp.pb-c.c then has just that one.
set(runtime ${CMAKE_CURRENT_BINARY_DIR}/cstub_runtime.o)
add_custom_command(
  OUTPUT ${runtime}
  COMMAND ${CMAKE_LINKER} -r -o ${runtime} $<TARGET_OBJECTS:stub> $<TARGET_FILE:base>
  COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=stub_* --keep-global-symbol=accept4
    --keep-global-symbol=sendmsg ${runtime}
  DEPENDS stub base $<TARGET_OBJECTS:stub>
  COMMAND_EXPAND_LISTS
  VERBATIM)
add_library(cstub STATIC ${runtime} $<TARGET_OBJECTS:gen_base> $<TARGET_OBJECTS:gen_common>)
set_source_files_properties(${runtime} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
set_target_properties(cstub PROPERTIES LINKER_LANGUAGE C)

set(headers ${CMAKE_INSTALL_INCLUDEDIR}/cstub)
set(protos ${CMAKE_INSTALL_DATADIR}/cstub/proto)
install(TARGETS cstub ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cstub)
install(FILES attribute.h call.h client.h intercept.h method.h server.h tls.h
  DESTINATION ${headers}/stub COMPONENT cstub)
install(
  DIRECTORY ${PROJECT_SOURCE_DIR}/gen/google ${PROJECT_SOURCE_DIR}/gen/grpc
    ${PROJECT_SOURCE_DIR}/gen/protobuf-c
  DESTINATION ${headers} COMPONENT cstub FILES_MATCHING PATTERN "*.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/google DESTINATION ${protos} COMPONENT cstub)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/../cstub COMPONENT cstub)

# The prefix may be chosen as late as `cmake --install --prefix`, so the file finds it from where it is.
file(RELATIVE_PATH prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(core_cflags "")
set(core_libs "")
foreach(property INCLUDE_DIRECTORIES LINK_DIRECTORIES LINK_OPTIONS LINK_LIBRARIES)
  get_target_property(values grpc_core INTERFACE_${property})
  foreach(value IN LISTS values)
    if(NOT value)
      continue()
    elseif(property STREQUAL INCLUDE_DIRECTORIES)
      string(APPEND core_cflags " -I${value}")
    elseif(property STREQUAL LINK_DIRECTORIES)
      string(APPEND core_libs " -L${value} -Wl,-rpath,${value}")
    elseif(property STREQUAL LINK_LIBRARIES AND NOT value MATCHES "[/-]")
      string(APPEND core_libs " -l${value}")
    else()
      string(APPEND core_libs " ${value}")
    endif()
  endforeach()
endforeach()
configure_file(cstub.pc.in ${CMAKE_CURRENT_BINARY_DIR}/cstub.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cstub.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT cstub)
