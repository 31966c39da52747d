/*
 * The echo service as a library: in tests it runs inside the test program, on threads of its own.
 */
#ifndef HOLDFAST_TESTS_ECHO_SERVICE_H
#define HOLDFAST_TESTS_ECHO_SERVICE_H

#include "stub/server.h"

#include <stdbool.h>

struct echo;

struct echo_options {
    const char *listen;                /* NULL: 127.0.0.1:0 */
    struct stub_server_options server; /* listen is filled in */
    int workers;                       /* threads in stub_server_next; 0: 1 */
    const struct stub_interceptor *interceptors;
    size_t interceptors_count;
};

/* Serves with health ("" is SERVING) and reflection. NULL: ret_error says why. */
struct echo *echo_start(const struct echo_options *options, char *ret_error, size_t error_bytes);

/* Ends it, within grace_ms for running calls. True: every call was answered. */
bool echo_stop(struct echo *echo, int grace_ms);

struct stub_server *echo_server(struct echo *echo);

/* "127.0.0.1:PORT", or the unix socket. */
const char *echo_target(const struct echo *echo);

/* How often on_closed has run. */
int echo_closed(const struct echo *echo);

/* How often a second answer was accepted: never, one hopes. */
int echo_doubled(const struct echo *echo);

#endif
