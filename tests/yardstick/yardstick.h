/*
 * What the two servers of the yardstick share: what their methods answer, and how their programs
 * begin. Any thread.
 */
#ifndef HOLDFAST_TESTS_YARDSTICK_H
#define HOLDFAST_TESTS_YARDSTICK_H

#include "base/check.h"

#include <echo/echo.pb-c.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { YARDSTICK_BYTES_MAX = 4096 };

/* *response points into *request. */
static inline void yardstick_echo(const Test__Echo__V1__EchoRequest *request,
                                  Test__Echo__V1__EchoResponse *response)
{
    test__echo__v1__echo_response__init(response);
    response->text = request->text;
    response->payload = request->payload;
    response->count = request->count;
}

/* *response points to static memory, bytes is at most YARDSTICK_BYTES_MAX. */
static inline void yardstick_count(int64_t number, size_t bytes,
                                   Test__Echo__V1__CountResponse *response)
{
    static uint8_t payload[YARDSTICK_BYTES_MAX];

    test__echo__v1__count_response__init(response);
    response->number = number;
    response->payload = (ProtobufCBinaryData){bytes, payload};
}

/* The address with the port that was bound, as a client wants it. */
static inline void yardstick_print_target(const char *address, int port)
{
    const char *colon = strrchr(address, ':');

    if (strncmp(address, "unix:", 5) == 0 || !colon)
        printf("%s\n", address);
    else
        printf("%.*s:%d\n", (int)(colon - address), address, port);
    fflush(stdout);
}

/* SIGINT and SIGTERM, for sigwait; before Core starts threads. */
static inline void yardstick_block_signals(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGTERM);
    CHECK(pthread_sigmask(SIG_BLOCK, ret_signals, NULL) == 0);
}

#endif
