/*
 * grpc.testing.TestService as gRPC's interop description has it, on the stubs: answers with as many
 * zero bytes as were asked for, echoes two metadata keys, and fails when a request says so.
 */
#ifndef HOLDFAST_TESTS_INTEROP_SERVICE_H
#define HOLDFAST_TESTS_INTEROP_SERVICE_H

#include "stub/server.h"

struct service;

/* Registers it; before stub_server_start. */
struct service *service_register(struct stub_server *server);

/* After all threads have left stub_server_next. */
void service_destroy(struct service *service);

#endif
