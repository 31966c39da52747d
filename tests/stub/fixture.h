/*
 * What the tests of the stub layer share: an echo server and a channel to it, and waiting.
 */
#ifndef HOLDFAST_TESTS_STUB_FIXTURE_H
#define HOLDFAST_TESTS_STUB_FIXTURE_H

#include "echo/echo_service.h"

#include <echo/echo.stub.h>
#include <pthread.h>
#include <stdbool.h>

struct fixture {
    struct echo *echo;
    struct stub_channel *channel;
};

/* options may be NULL. Fails the test when it does not work. */
struct fixture fixture_start(const struct echo_options *options);
void fixture_stop(struct fixture *fixture);

/* A server with the test's own handlers on one worker thread, and a channel to it. */
struct rig {
    struct stub_server *server;
    struct stub_channel *channel;
    pthread_t worker;
    char target[64];
};

/* interceptor may be NULL. */
void rig_start(struct rig *rig, const struct test_echo_v1_echo_service_handlers *handlers,
               void *user, const struct stub_interceptor *interceptor);

/* Fails the test when a call is left after 5 s. */
void rig_stop(struct rig *rig);

/* Polls fn(user) until it is true, for up to 5 s. */
bool eventually(bool (*fn)(void *user), void *user);

/* Sends raw bytes as the request of Echo and returns the status code. */
int raw_echo(struct stub_channel *channel, const void *data, size_t bytes, struct stub_status *st);

#endif
