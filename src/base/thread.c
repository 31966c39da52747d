#include "base/thread.h"

#include "base/check.h"

#include <sched.h>
#include <string.h>

void thread_start(pthread_t *ret, const char *name, void *(*run)(void *user), void *user)
{
    int error;

    CHECK(strlen(name) <= THREAD_NAME_BYTES_MAX);
    error = pthread_create(ret, NULL, run, user);
    CHECK_MSG(error == 0, "no thread \"%s\": %s", name, strerror(error));
    pthread_setname_np(*ret, name);
}

void thread_start_batch(pthread_t *ret, const char *name, void *(*run)(void *user), void *user)
{
    struct sched_param param = {0};

    thread_start(ret, name, run, user);
    pthread_setschedparam(*ret, SCHED_BATCH, &param);
}

struct timespec thread_deadline(int64_t wait_us)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += wait_us / 1000000;
    at.tv_nsec += wait_us % 1000000 * 1000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}
