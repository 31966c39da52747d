#include "op/idle.h"

#include "base/hash.h"
#include "base/still.h"
#include "op/aside.h"
#include "op/recall.h"
#include "op/trace.h"
#include "quota/lease.h"
#include "quota/times.h"

#include <stdlib.h>

enum {
    PAGE_ROWS = RECALL_ROWS_MAX,
    MEMORY_PLACES = 32768, /* a power of two */
    ASK_AGAIN_MS = 10000,  /* Redis, about a row that has nothing to give */
    FAR_LEASES = 3,        /* so many LEASE_MIN_MS ahead a deadline is far */
};

struct idle {
    struct ledger_key after;
    struct still *seen; /* own_us: when Redis was asked; 0: not yet */
};

struct idle *idle_create(void)
{
    struct idle *idle = calloc(1, sizeof(*idle));

    CHECK(idle);
    idle->seen = still_create(MEMORY_PLACES, 2 * IDLE_ROUND_MS * INT64_C(1000));
    return idle;
}

void idle_destroy(struct idle *idle)
{
    if (!idle)
        return;
    still_destroy(idle->seen);
    free(idle);
}

/* Commits, grants and what comes back show in it; the deadline does not: it moves with them. */
static uint64_t print_of(const struct quota_row *row)
{
    const int64_t numbers[] = {row->lease_id, row->granted, row->returned, row->spent,
                               row->ledger_seq};

    return hash_bytes(numbers, sizeof(numbers));
}

static struct still_entry *look_up(struct idle *idle, const struct quota_row *row, int64_t mono_us)
{
    const int64_t numbers[] = {row->tenant_id, row->ref.limit_id, row->ref.period_start_ms};

    return still_look(idle->seen, hash_bytes(numbers, sizeof(numbers)), print_of(row), mono_us);
}

/* False: it is left alone in this turn. */
static bool choose(struct idle *idle, struct stores *stores, const struct quota_row *row,
                   struct recall_want *want)
{
    int64_t mono_us = stores_mono_us(stores), now_ms = stores_now_ms(stores);
    struct still_entry *seen = look_up(idle, row, mono_us);
    int64_t lease_min_ms = stores->services->options.lease_min_ms;

    if (!seen || (lease_is_worn(row) && row->lease_deadline_ms > now_ms))
        return false;
    *want = (struct recall_want){.row = row, .how = RECALL_STILL};
    if (mono_us - seen->since_us < IDLE_STILL_MS * INT64_C(1000)) {
        if (row->lease_deadline_ms <= now_ms + FAR_LEASES * lease_min_ms)
            return false;
        want->how = RECALL_MOVING;
    }
    if (seen->own_us != 0 && mono_us - seen->own_us < ASK_AGAIN_MS * INT64_C(1000) &&
        (want->how == RECALL_MOVING || seen->own_us > seen->since_us))
        return false;
    seen->own_us = mono_us;
    return true;
}

/* What of them is lent under leases that nothing can be admitted under any more. */
static enum status set_aside(struct stores *stores, struct ledger_grant *grants, size_t count)
{
    int64_t now_ms;
    enum status status;

    if (count == 0)
        return STATUS_OK;
    status = stores->table->grant_run(stores->db, &stores->scratch, grants, count, &now_ms);
    if (status == STATUS_OK)
        trace_grants(stores->services->trace, now_ms, grants, count);
    if (status != STATUS_CONFLICT)
        return status;
    for (size_t i = 0; i < count; i++)
        if (grants[i].locked)
            aside_put(stores->services->aside, grants[i].tenant_id, stores_mono_us(stores));
    return STATUS_OK; /* the next round finds them again */
}

static struct ledger_grant aside_of(const struct quota_row *row)
{
    return (struct ledger_grant){
        .tenant_id = row->tenant_id,
        .shard = row->shard,
        .epoch = row->epoch,
        .ref = row->ref,
        .deadline_ms = 1, /* as it is */
        .over_too = true,
    };
}

enum status idle_turn(struct idle *idle, struct stores *stores, bool *ret_more)
{
    struct recall_want *wants = stores_scratch(stores, PAGE_ROWS, sizeof(*wants));
    struct ledger_grant *grants = stores_scratch(stores, PAGE_ROWS, sizeof(*grants));
    size_t count, wants_count = 0, grants_count = 0;
    struct quota_row *rows;
    enum status status;

    *ret_more = false;
    status = stores->table->lent(stores->db, &stores->scratch, &idle->after, PAGE_ROWS, &rows,
                                 &count, ret_more);
    if (status != STATUS_OK || !*ret_more)
        idle->after = (struct ledger_key){0};
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        if (aside_has(stores->services->aside, rows[i].tenant_id, stores_mono_us(stores)))
            continue;
        if (lease_epoch(rows[i].lease_id) < rows[i].epoch)
            grants[grants_count++] = aside_of(&rows[i]);
        else if (lease_epoch(rows[i].lease_id) == rows[i].epoch && !rows[i].recall &&
                 choose(idle, stores, &rows[i], &wants[wants_count]))
            wants_count++;
    }
    status = recall_idle(stores, wants, wants_count);
    return status == STATUS_OK ? set_aside(stores, grants, grants_count) : status;
}
