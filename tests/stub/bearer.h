/*
 * An example of an interceptor that authenticates: callers bring `authorization: Bearer TOKEN`.
 *
 *   static const struct bearer_user users[] = {{"s3cret", "alice"}, ...};
 *   static struct bearer bearer = {users, 1};
 *   stub_server_intercept(server, &(struct stub_interceptor){.before = bearer_before,
 *                                                            .user = &bearer});
 *
 * Handlers learn who calls by bearer_name. Everybody may ask for the health. Only over TLS or on this
 * machine: whoever reads a token has it.
 */
#ifndef HOLDFAST_TESTS_STUB_BEARER_H
#define HOLDFAST_TESTS_STUB_BEARER_H

#include "stub/intercept.h"

#include <stdbool.h>
#include <stddef.h>

struct bearer_user {
    const char *token;
    const char *name;
};

struct bearer {
    const struct bearer_user *users;
    size_t users_count;
};

/* Answers UNAUTHENTICATED to those who bring no token, or one that nobody has. */
bool bearer_before(void *bearer, struct stub_call *call, void **state);

/* The caller's name; it is kept as the call's user. */
const char *bearer_name(const struct stub_call *call);

#endif
