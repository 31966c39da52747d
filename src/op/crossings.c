#include "op/crossings.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct crossings {
    _Atomic uint32_t tags;
    int wake_fd;
};

struct crossings *crossings_create(void)
{
    struct crossings *crossings = calloc(1, sizeof(*crossings));

    CHECK(crossings);
    crossings->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(crossings->wake_fd >= 0);
    return crossings;
}

void crossings_destroy(struct crossings *crossings)
{
    if (!crossings)
        return;
    close(crossings->wake_fd);
    free(crossings);
}

void crossings_note(struct crossings *crossings, int shard)
{
    uint32_t bit = UINT32_C(1) << counter_tag(shard);

    if (atomic_fetch_or(&crossings->tags, bit) == 0)
        crossings_wake(crossings);
}

void crossings_wake(struct crossings *crossings)
{
    uint64_t one = 1;

    CHECK(write(crossings->wake_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

uint32_t crossings_take(struct crossings *crossings)
{
    return atomic_exchange(&crossings->tags, 0);
}

void crossings_wait(struct crossings *crossings, int wait_ms)
{
    struct pollfd poll_fd = {.fd = crossings->wake_fd, .events = POLLIN};
    uint64_t value;

    if (poll(&poll_fd, 1, wait_ms) > 0)
        (void)!read(crossings->wake_fd, &value, sizeof(value));
}
