#include "op/refusals.h"

#include "base/hash.h"

#include <stdlib.h>

enum { REFUSALS = 1024, REFUSAL_US = 20000 };

struct refusal {
    int64_t until_us; /* 0: empty */
    int64_t old_leases_units;
    struct settle_quota row;
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

static size_t slot_of(int64_t tenant_id, struct quota_ref ref)
{
    int64_t key[3] = {tenant_id, ref.limit_id, ref.period_start_ms};

    return hash_bytes(key, sizeof(key)) % REFUSALS;
}

void refusals_put(struct refusals *refusals, const struct settle_quota *row,
                  int64_t old_leases_units, int64_t mono_us)
{
    struct refusal *slot = &refusals->slots[slot_of(row->tenant_id, row->ref)];

    slot->until_us = mono_us + REFUSAL_US;
    slot->old_leases_units = old_leases_units;
    slot->row = *row;
    slot->row.limit_name = slot->row.scope = slot->row.meter = slice_of(NULL, 0);
}

bool refusals_get(const struct refusals *refusals, int64_t tenant_id, struct quota_ref ref,
                  int64_t mono_us, struct settle_quota *ret_row, int64_t *ret_old_leases_units)
{
    const struct refusal *slot = &refusals->slots[slot_of(tenant_id, ref)];

    if (slot->until_us <= mono_us || slot->row.tenant_id != tenant_id ||
        !quota_ref_equal(slot->row.ref, ref))
        return false;
    *ret_row = slot->row;
    *ret_old_leases_units = slot->old_leases_units;
    return true;
}
