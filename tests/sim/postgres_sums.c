/* The pretended Postgres: what reconciliation reads (ledger/reconcile.h). */
#include "tests/sim/postgres_rows.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_wanted(const struct ledger_sums_page *page, const struct pg_tenant *tenant,
                      const struct quota_row *row)
{
    bool named = page->tenant.len > 0;

    if (named && !slice_equal(page->tenant, tenant->info.tenant))
        return false;
    if (page->lent && row->granted <= row->returned + row->spent)
        return false;
    if (!named && row->tenant_id != page->after.tenant_id)
        return row->tenant_id > page->after.tenant_id;
    return quota_ref_compare(row->ref, page->after.ref) > 0;
}

static bool is_before(const struct ledger_sums_key *a, const struct ledger_sums_key *b)
{
    return a->tenant_id != b->tenant_id ? a->tenant_id < b->tenant_id
                                        : quota_ref_compare(a->ref, b->ref) < 0;
}

/* Keeps the first max of them, in order. */
static void put(struct ledger_sums_key *keys, size_t *count, size_t max,
                const struct ledger_sums_key *key)
{
    size_t at = *count;

    while (at > 0 && is_before(key, &keys[at - 1]))
        at--;
    if (at == max)
        return;
    *count += *count < max;
    for (size_t i = *count - 1; i > at; i--)
        keys[i] = keys[i - 1];
    keys[at] = *key;
}

enum status sim_sums_list(struct database *db, struct arena *arena,
                          const struct ledger_sums_page *page, bool *ret_exists,
                          struct ledger_sums_key **ret, size_t *ret_count)
{
    struct postgres *pg = db->pg;
    enum status status = pg_ask(db);

    *ret_count = 0;
    *ret = pg_alloc(arena, page->max, sizeof(**ret));
    *ret_exists = page->tenant.len == 0 || postgres_tenant_named(pg, page->tenant);
    for (const struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next)
        for (const struct pg_quota *quota = tenant->quotas; quota; quota = quota->next)
            if (is_wanted(page, tenant, &quota->row))
                put(*ret, ret_count, page->max,
                    &(struct ledger_sums_key){quota->row.tenant_id, quota->row.ref,
                                              tenant->shard});
    return status;
}

static void add_counted(const struct settle_counted *counted, size_t count, struct quota_ref ref,
                        struct drift_sums *sums)
{
    for (size_t i = 0; i < count; i++) {
        if (!quota_ref_equal(counted[i].ref, ref))
            continue;
        sums->entries++;
        sums->amount += counted[i].amount;
        sums->debt += counted[i].debt;
    }
}

static void add_job(const struct pg_job *job, struct quota_ref ref, struct drift_sums *sums)
{
    for (size_t i = 0; job->record && i < job->record->entries_count; i++)
        add_counted(job->record->entries[i].counted, job->record->entries[i].counted_count, ref,
                    sums);
    for (const struct pg_correction *each = job->corrections; each; each = each->next)
        add_counted(each->row.counted, each->row.counted_count, ref, sums);
}

/* The record itself, also where the seals would be asked: they would say the same. */
static struct ledger_sums add_up(struct pg_tenant *tenant,
                                 const struct quota_row *row)
{
    struct ledger_sums sums = {.exists = true, .row = *row};
    struct quota_ref ref = row->ref;

    sums.row.shard = tenant->shard;
    sums.sums = (struct drift_sums){
        .leases = row->granted - row->returned - row->spent + pg_lent_aside(tenant, ref),
        .holds_known = true,
        .holds = pg_placed_units(tenant, ref),
        .entries_known = true,
    };
    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next)
            add_job(job, ref, &sums.sums);
    return sums;
}

enum status sim_sums_read(struct database *db, struct arena *arena,
                          const struct ledger_sums_key *keys, size_t count,
                          enum ledger_entries_from from, struct ledger_sums **ret)
{
    enum status status = pg_ask(db);

    (void)from;
    *ret = pg_alloc(arena, count + 1, sizeof(**ret));
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        struct pg_tenant *tenant = postgres_tenant(db->pg, keys[i].tenant_id);
        const struct pg_quota *quota = tenant ? pg_find_quota(tenant, keys[i].ref) : NULL;

        if (!quota)
            continue;
        (*ret)[i] = add_up(tenant, &quota->row);
        (*ret)[i].sums.row = &(*ret)[i].row;
    }
    return status;
}

/* --- drifts ----------------------------------------------------------------------------------- */

enum status sim_drifts_read(struct database *db, struct arena *arena, struct ledger_drift **ret,
                            size_t *ret_count)
{
    *ret = pg_alloc(arena, 1, sizeof(**ret));
    *ret_count = 0;
    return pg_ask(db);
}

/* Nobody puts a hand into these books: whoever says that they differ, and nothing was lost, is wrong. */
enum status sim_drift_put(struct database *db, struct arena *arena,
                          const struct ledger_drift *drift, const struct quota_row *row)
{
    const struct pg_tenant *tenant = postgres_tenant(db->pg, row->tenant_id);

    (void)arena;
    if (drift->drift.kind == DRIFT_REDIS &&
        (tenant->read_only || db->pg->timeline != db->pg->compared))
        return pg_ask(db);
    fprintf(stderr, "drift kind=%d is=%lld other=%lld limit=%lld\n", (int)drift->drift.kind,
            (long long)drift->drift.is, (long long)drift->drift.other,
            (long long)drift->ref.limit_id);
    abort();
}

enum status sim_drift_end(struct database *db, struct arena *arena,
                          const struct ledger_drift *drift, const struct quota_row *row)
{
    (void)arena, (void)drift, (void)row;
    return pg_ask(db);
}

enum status sim_drift_totals_read(struct database *db, struct ledger_drift_totals *ret)
{
    *ret = (struct ledger_drift_totals){0};
    return pg_ask(db);
}
