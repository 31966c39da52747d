/*
 * A standby of Postgres takes over that lacks the newest transactions, and an operator who accepts what was
 * lost (src/op/PROTOCOL.md 3.13).
 */
#include "tests/sim/world.h"

#include "base/check.h"
#include "counter/counter.h"
#include "counter/packed.h"
#include "quota/times.h"
#include "tests/sim/fibre.h"
#include "tests/sim/stores.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    LAG_MAX_US = 4000000,
    COMPARED_WITHIN_US = 15000000,
    LOOK_US = 50000,
    HEARD_MAX = 256,
    ARENA_BYTES = 65536,
};

/* What Redis has heard of a quota, and what the standby knew of it as it took over. */
struct heard {
    struct truth_tenant *tenant;
    struct quota_ref ref;
    int64_t used, seq;
    int64_t known_used, known_seq;
};

struct failover {
    struct world *world;
    struct pg_standby *standby;
    struct heard heard[HEARD_MAX];
    size_t heard_count;
};

/* --- what Redis has heard of ---------------------------------------------------------------------- */

static void hear_quota(struct failover *failover, struct truth_tenant *tenant,
                       const struct member *field)
{
    struct heard *heard = &failover->heard[failover->heard_count];
    struct counter_quota quota;

    if (failover->heard_count == HEARD_MAX || !packed_ref_read(field->name, &heard->ref) ||
        !packed_quota_read(field->text, &quota))
        return;
    heard->used = quota.used;
    heard->seq = quota.used_seq;
    heard->tenant = tenant;
    failover->heard_count++;
}

static void hear(struct failover *failover)
{
    struct world *world = failover->world;

    failover->heard_count = 0;
    for (int i = 0; i < WORLD_TENANTS; i++) {
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, world->tenants[i].tenant_id);
        char key[64];
        struct value *value;

        snprintf(key, sizeof(key), "q:{%d}:%d:t:%" PRId64, rows->shard / 16, COUNTER_LAYOUT,
                 rows->info.tenant_id);
        value = keyspace_find(&world->nodes[world->node], slice_from_cstr(key));
        for (struct member *field = value ? table_next(&value->members, NULL) : NULL; field;
             field = table_next(&value->members, field))
            hear_quota(failover, &world->tenants[i], field);
    }
}

/* --- taking over ---------------------------------------------------------------------------------- */

/* A shard that began an epoch meanwhile would begin another, and nobody would know of what is lent there. */
static int64_t epochs_now(const struct world *world)
{
    int64_t epochs = 0;

    for (int shard = 0; shard < SHARDS; shard++)
        epochs += world->postgres.authority[shard].view.epoch * 2 +
                  world->postgres.authority[shard].view.active;
    return epochs;
}

static void take_over(struct failover *failover)
{
    struct world *world = failover->world;
    const struct pg_tenant *before[WORLD_TENANTS];

    for (int i = 0; i < WORLD_TENANTS; i++)
        before[i] = postgres_tenant(&world->postgres, world->tenants[i].tenant_id);
    hear(failover);
    postgres_take_over(&world->postgres, failover->standby);
    for (int i = 0; i < WORLD_TENANTS; i++) {
        truth_forget(&world->truth, &world->tenants[i], before[i]);
        world->tenants[i].cap_changed_us = fibre_now_us();
    }
    for (size_t i = 0; i < failover->heard_count; i++) {
        struct heard *heard = &failover->heard[i];
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, heard->tenant->tenant_id);
        const struct pg_quota *quota = rows->quotas;

        while (quota && !quota_ref_equal(quota->row.ref, heard->ref))
            quota = quota->next;
        heard->known_used = quota ? quota->row.committed + quota->row.debt : 0;
        heard->known_seq = quota ? quota_told_seq(&quota->row) : 0;
    }
    world_note_trouble(world, NULL, true);
    world_trace(world, "postgres: a standby has taken over, timeline %" PRId64,
                world->postgres.timeline);
}

/* --- what must be so afterwards ------------------------------------------------------------------- */

/* Since this long; where its row is gone, too. */
static bool is_over(const struct pg_tenant *rows, struct quota_ref ref, int64_t since_ms)
{
    for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
        if (quota_ref_equal(quota->row.ref, ref))
            return quota->row.period_end_ms < PERIOD_END_NEVER &&
                   quota->row.period_end_ms + since_ms <= sim_ms_at(fibre_now_us());
    return true;
}

/* Of what Redis had heard of nothing is missing: a loss says so, and its tenant is read-only. */
static void check_found(struct failover *failover)
{
    struct world *world = failover->world;

    for (size_t i = 0; i < failover->heard_count; i++) {
        const struct heard *heard = &failover->heard[i];
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, heard->tenant->tenant_id);
        const struct pg_loss *loss =
            postgres_loss(&world->postgres, heard->tenant->tenant_id, heard->ref);

        world->truth.checks++;
        if (heard->seq <= heard->known_seq || is_over(rows, heard->ref, PERIOD_IN_REDIS_MS))
            continue;
        if (!loss || loss->loss.seen_seq < heard->seq)
            truth_break(&world->truth, "what Redis had heard of is found", NULL,
                        "%s limit %" PRId64 ": entry %" PRId64 ", the database has %" PRId64,
                        heard->tenant->name, heard->ref.limit_id, heard->seq, heard->known_seq);
        else if (!loss->accepted && loss->loss.units < heard->used - heard->known_used)
            truth_break(&world->truth, "what Redis had heard of is found", NULL,
                        "%s limit %" PRId64 ": %" PRId64 " units of %" PRId64, heard->tenant->name,
                        heard->ref.limit_id, loss->loss.units, heard->used - heard->known_used);
        else if (!loss->accepted && !rows->read_only)
            truth_break(&world->truth, "who lost something is read-only", NULL, "%s",
                        heard->tenant->name);
    }
}

static void check_booked(struct failover *failover)
{
    struct world *world = failover->world;

    for (size_t i = 0; i < failover->heard_count; i++) {
        const struct heard *heard = &failover->heard[i];
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, heard->tenant->tenant_id);

        if (heard->seq <= heard->known_seq || is_over(rows, heard->ref, PERIOD_GRACE_MS))
            continue;
        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
            if (quota_ref_equal(quota->row.ref, heard->ref) &&
                quota->row.committed + quota->row.debt < heard->used)
                truth_break(&world->truth, "what was lost is booked", NULL,
                            "%s limit %" PRId64 ": %" PRId64 " used, Redis had heard of %" PRId64,
                            heard->tenant->name, heard->ref.limit_id,
                            quota->row.committed + quota->row.debt, heard->used);
    }
}

static void wait_until_compared(struct world *world)
{
    int64_t until_us = fibre_now_us() + COMPARED_WITHIN_US;

    while (world->postgres.compared != world->postgres.timeline && fibre_now_us() < until_us)
        fibre_sleep_us(LOOK_US);
    if (world->postgres.compared != world->postgres.timeline)
        truth_break(&world->truth, "a database that took over is compared", NULL, "not in %d s",
                    COMPARED_WITHIN_US / 1000000);
    for (int i = 0; i < WORLD_TENANTS; i++) {
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, world->tenants[i].tenant_id);

        world->tenants[i].cap_changed_us = fibre_now_us();
        if (rows->read_only && world->tenants[i].read_only_us < 0)
            world->tenants[i].read_only_us = fibre_now_us();
        if (!rows->read_only)
            world->tenants[i].read_only_us = -1;
        if (rows->read_only)
            world_trace(world, "postgres: a loss of %s was found", world->tenants[i].name);
    }
}

/* The operator. */
static void accept(struct world *world)
{
    const struct ledger_note note = {SLICE("sim"), SLICE("accept"), SLICE("")};
    const struct database_options options = {.statement_timeout_ms = 5000};
    struct database *db = sim_database_create(&options);
    struct arena arena;

    arena_init(&arena, ARENA_BYTES, SIZE_MAX / 2);
    for (int i = 0; i < WORLD_TENANTS && !world->truth.broken; i++) {
        struct truth_tenant *tenant = &world->tenants[i];
        struct ledger_loss *losses;
        enum ledger_admin answer;
        size_t count;

        if (tenant->read_only_us < 0)
            continue;
        tenant->admin_open++;
        while (sim_losses_accept(db, &arena, &note, false, slice_from_cstr(tenant->name), &losses,
                                 &count, &answer) != STATUS_OK)
            fibre_sleep_us(LOOK_US);
        tenant->admin_open--;
        tenant->read_only_us = -1;
        tenant->accepted_us = tenant->cap_changed_us = fibre_now_us();
        world_trace(world, "%s: %zu losses accepted", tenant->name, count);
    }
    sim_database_destroy(db);
    arena_done(&arena);
}

static void fail_over(struct failover *failover)
{
    struct world *world = failover->world;
    int64_t epochs = epochs_now(world);

    failover->standby = postgres_standby(&world->postgres);
    world_trace(world, "postgres: the standby hears nothing more");
    if (!dice_one_in(&world->dice, 4))
        fibre_sleep_us(dice_between(&world->dice, 1000, LAG_MAX_US));
    world->chaos.postgres_away = true;
    world_note_trouble(world, NULL, false);
    fibre_sleep_us(dice_between(&world->dice, 0, 1500000));
    if (epochs_now(world) == epochs)
        take_over(failover);
    fibre_sleep_us(dice_between(&world->dice, 0, 500000));
    world->chaos.postgres_away = false;
    wait_until_compared(world);
    check_found(failover);
    fibre_sleep_us(dice_between(&world->dice, 0, 8000000));
    /* Now and then another one takes over while the losses wait. */
    if (dice_one_in(&world->dice, 5))
        return;
    accept(world);
    check_booked(failover);
}

void world_failover(void *user)
{
    struct failover failover = {.world = user};
    struct world *world = user;

    while (fibre_now_us() < world->end_us && !world->truth.broken) {
        fibre_sleep_us(dice_between(&world->dice, 5000000, 60000000));
        fail_over(&failover);
    }
    accept(world);
    world->clients--;
}
