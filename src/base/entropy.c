#include "base/entropy.h"

#include "base/check.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static void real_fill(void *user, void *out, size_t size)
{
    char *bytes = out;

    (void)user;
    while (size > 0) {
        ssize_t got = getrandom(bytes, size, 0);

        CHECK_MSG(got >= 0 || errno == EINTR, "getrandom: errno=%d", errno);
        if (got > 0) {
            bytes += got;
            size -= (size_t)got;
        }
    }
}

const struct entropy *entropy_real(void)
{
    static const struct entropy real = {real_fill, NULL};

    return &real;
}

uint64_t entropy_u64(const struct entropy *entropy)
{
    uint64_t value;

    entropy_fill(entropy, &value, sizeof(value));
    return value;
}

uint64_t entropy_below(const struct entropy *entropy, uint64_t bound)
{
    uint64_t unfair;
    uint64_t value;

    CHECK(bound > 0);
    /* The first 2^64 mod bound values would make small results more likely. */
    unfair = (0 - bound) % bound;
    do
        value = entropy_u64(entropy);
    while (value < unfair);
    return value % bound;
}

/* splitmix64: one step per 8 bytes, good enough to drive tests. */
static uint64_t seeded_next(struct entropy_seeded *seeded)
{
    uint64_t z = seeded->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void seeded_fill(void *user, void *out, size_t size)
{
    struct entropy_seeded *seeded = user;
    char *bytes = out;

    while (size > 0) {
        uint64_t word = seeded_next(seeded);
        size_t part = size < sizeof(word) ? size : sizeof(word);

        memcpy(bytes, &word, part);
        bytes += part;
        size -= part;
    }
}

void entropy_seeded_init(struct entropy_seeded *seeded, uint64_t seed)
{
    seeded->entropy = (struct entropy){seeded_fill, seeded};
    seeded->state = seed;
}
