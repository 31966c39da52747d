#include "op/refusals.h"

#include "base/hash.h"

#include <stdlib.h>

enum { REFUSALS = 1024, REFUSAL_US = 20000 };

struct refusal {
    int64_t until_us; /* 0: empty */
    struct refusal_key key;
    int64_t old_leases_units;
    struct quota_row row;
};

/* Direct-mapped: a collision only costs a transaction. */
struct refusals {
    struct refusal slots[REFUSALS];
};

struct refusals *refusals_create(void)
{
    struct refusals *refusals = calloc(1, sizeof(*refusals));

    CHECK(refusals);
    return refusals;
}

void refusals_destroy(struct refusals *refusals)
{
    free(refusals);
}

static size_t slot_of(const struct refusal_key *key)
{
    int64_t quota[3] = {key->tenant_id, key->ref.limit_id, key->ref.period_start_ms};

    return hash_bytes(quota, sizeof(quota)) % REFUSALS;
}

void refusals_put(struct refusals *refusals, const struct refusal_key *key,
                  const struct quota_row *row, int64_t old_leases_units, int64_t mono_us)
{
    struct refusal *slot = &refusals->slots[slot_of(key)];

    CHECK(key->lacks > 0);
    slot->until_us = mono_us + REFUSAL_US;
    slot->key = *key;
    slot->old_leases_units = old_leases_units;
    slot->row = *row;
    slot->row.limit_name = slot->row.scope = slot->row.meter = slice_of(NULL, 0);
}

bool refusals_get(const struct refusals *refusals, const struct refusal_key *key, int64_t mono_us,
                  struct quota_row *ret_row, int64_t *ret_old_leases_units)
{
    const struct refusal *slot = &refusals->slots[slot_of(key)];

    if (slot->until_us <= mono_us || slot->key.tenant_id != key->tenant_id ||
        !quota_ref_equal(slot->key.ref, key->ref) ||
        slot->key.config_version != key->config_version || key->lacks < slot->key.lacks)
        return false;
    *ret_row = slot->row;
    *ret_old_leases_units = slot->old_leases_units;
    return true;
}
