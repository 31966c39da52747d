/*
 * What the tests of the stub layer share: an echo server and a channel to it, and waiting.
 */
#ifndef HOLDFAST_TESTS_STUB_FIXTURE_H
#define HOLDFAST_TESTS_STUB_FIXTURE_H

#include "echo/echo_service.h"

#include <echo/echo.stub.h>
#include <stdbool.h>

struct fixture {
    struct echo *echo;
    struct stub_channel *channel;
};

/* options may be NULL. Fails the test when it does not work. */
struct fixture fixture_start(const struct echo_options *options);
void fixture_stop(struct fixture *fixture);

/* Polls fn(user) until it is true, for up to 5 s. */
bool eventually(bool (*fn)(void *user), void *user);

/* Sends raw bytes as the request of Echo and returns the status code. */
int raw_echo(struct stub_channel *channel, const void *data, size_t bytes, struct stub_status *st);

#endif
