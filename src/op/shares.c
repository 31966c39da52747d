#include "op/shares.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

struct shares {
    _Atomic bool owned[SHARES_COUNT];
};

struct shares *shares_create(void)
{
    struct shares *shares = calloc(1, sizeof(*shares));

    CHECK(shares);
    return shares;
}

void shares_destroy(struct shares *shares)
{
    free(shares);
}

static uint64_t weight(struct slice server, int share)
{
    return hash_combine(hash_bytes(&share, sizeof(share)), server);
}

/* Equal weights are for the name that sorts first. */
static bool beats(struct slice own, struct slice other, int share)
{
    uint64_t mine = weight(own, share), theirs = weight(other, share);

    return mine > theirs || (mine == theirs && slice_compare(own, other) < 0);
}

void shares_set(struct shares *shares, struct slice own, const struct slice *others, size_t count)
{
    for (int share = 0; share < SHARES_COUNT; share++) {
        bool owned = true;

        for (size_t i = 0; i < count && owned; i++)
            owned = beats(own, others[i], share);
        atomic_store(&shares->owned[share], owned);
    }
}

bool shares_own(struct shares *shares, int share)
{
    CHECK(share >= 0 && share < SHARES_COUNT);
    return atomic_load(&shares->owned[share]);
}
