# libcstub: the stub layer for programs outside this tree, in one archive, with headers, generator and
# cstub.pc. README.md, "Outside Holdfast", says how it is used.
#
# The archive's members are the objects as they are, so that a program gets what it calls: accept4 and
# sendmsg, which stand in front of libc's for gRPC Core (accept.h, cork.h), come with the server and with
# stub_cork, and a client has neither. `archive` renames what they share among themselves, so that an
# application may have an arena_alloc or a log_write of its own. The generated parts keep their names; a
# program that brings its own google/protobuf/timestamp.pb-c.c then has just that one.
set(archive ${CMAKE_CURRENT_BINARY_DIR}/libcstub.a)
set(archived $<TARGET_OBJECTS:stub> $<TARGET_OBJECTS:base>)
set(archived_as_is $<TARGET_OBJECTS:gen_base> $<TARGET_OBJECTS:gen_common>
  $<TARGET_OBJECTS:gen_descriptor>)
add_custom_command(
  OUTPUT ${archive}
  COMMAND ${CMAKE_COMMAND} -E env NM=${CMAKE_NM} OBJCOPY=${CMAKE_OBJCOPY} AR=${CMAKE_AR}
    ${CMAKE_CURRENT_SOURCE_DIR}/archive ${archive} ${archived} -- ${archived_as_is}
  DEPENDS archive stub base gen_base gen_common gen_descriptor ${archived} ${archived_as_is}
  COMMAND_EXPAND_LISTS
  VERBATIM)
add_custom_target(cstub ALL DEPENDS ${archive})

set(headers ${CMAKE_INSTALL_INCLUDEDIR}/cstub)
set(protos ${CMAKE_INSTALL_DATADIR}/cstub/proto)
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cstub)
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
