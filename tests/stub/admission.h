/*
 * An example of an interceptor that bounds how many calls run at once, before anything is unpacked:
 *
 *   static struct admission admission = {.running_max = 100, .retry_after_ms = 50};
 *   stub_server_intercept(server, &(struct stub_interceptor){
 *                                     .before = admission_before, .after = admission_after,
 *                                     .user = &admission});
 *
 * One more gets RESOURCE_EXHAUSTED with google.rpc.RetryInfo. Put it before those that cost more.
 */
#ifndef HOLDFAST_TESTS_STUB_ADMISSION_H
#define HOLDFAST_TESTS_STUB_ADMISSION_H

#include "stub/intercept.h"

#include <stdatomic.h>
#include <stdbool.h>

struct admission {
    atomic_long running;
    long running_max;
    int retry_after_ms;
};

bool admission_before(void *admission, struct stub_call *call, void **state);
void admission_after(void *admission, const struct stub_ended *ended, void *state);

#endif
