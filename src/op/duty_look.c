/*
 * The beat: once a second, and more often while this server has holds, in one statement and one script,
 * are the stores up, what time is it, which servers are there, and has anything changed that this server
 * believes: authority of shards, config versions of tenants, recall flags. Only what has changed is read.
 */
#include "op/duty.h"

#include "op/authority.h"
#include "op/dirty.h"
#include "op/op.h"
#include "op/plans.h"
#include "op/recover.h"
#include "op/redis.h"
#include "op/shares.h"
#include "op/status.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LOOK_EARLIEST_MS = 50 };

struct look {
    bool known; /* the last beat's: */
    int64_t started_ms;
    int64_t authority_hash;
    int64_t authority_changes; /* of what was believed when the rows were compared with it */
    int64_t versions_position;
    int64_t renewed_us; /* when the connection to Redis was opened anew last */
    struct shard_view before[SHARDS], rows[SHARDS]; /* too large for the stack */
};

static void *look_create(void)
{
    struct look *look = calloc(1, sizeof(*look));

    CHECK(look);
    return look;
}

static enum duty_end look_at_authority(struct look *look, struct duty_tools *tools, int64_t hash)
{
    struct stores *stores = tools->stores;
    bool before_known[SHARDS], rows_known[SHARDS];
    int64_t changes = authority_changes(stores->services->authority);
    enum status status;

    if (look->known && look->authority_hash == hash && look->authority_changes == changes)
        return DUTY_DONE;
    for (int shard = 0; shard < SHARDS; shard++)
        before_known[shard] =
            authority_believed(stores->services->authority, shard, &look->before[shard]);
    status = stores->table->authority_all(stores->db, look->rows, rows_known);
    if (status != STATUS_OK)
        return duty_failed(tools, "authority", status);
    recover_all(stores, look->before, before_known, look->rows, rows_known);
    look->authority_hash = hash;
    look->authority_changes = changes;
    return DUTY_DONE;
}

/* Those of the shard, in one call; NULL: nobody uses the shard, and who does first brings them. */
static struct counter_call *versions_of(struct stores *stores, int shard, const int *shards,
                                        const struct ledger_version *versions, size_t count)
{
    struct counter_version *brought;
    struct counter_fill *fill;
    struct shard_view view;

    if (!authority_get(stores->services->authority, shard, &view))
        return NULL;
    brought = stores_scratch(stores, count, sizeof(*brought));
    fill = stores_scratch(stores, 1, sizeof(*fill));
    fill->call =
        (struct counter_call){.kind = COUNTER_FILL, .view.shard = shard, .arena = &stores->scratch};
    fill->versions = brought;
    for (size_t i = 0; i < count; i++)
        if (shards[i] == shard)
            brought[fill->versions_count++] =
                (struct counter_version){versions[i].tenant_id, versions[i].config_version};
    return &fill->call;
}

/* Versions that their authors could not bring to Redis are brought by the next janitor, all together. */
static void bring_versions(struct stores *stores, const struct ledger_version *versions,
                           size_t count)
{
    struct counter_call *calls[SHARDS];
    int *shards = stores_scratch(stores, count, sizeof(*shards));
    size_t of_shard[SHARDS] = {0}, calls_count = 0;
    enum recovery reason;

    for (size_t i = 0; i < count; i++) {
        shards[i] = plan_shard(versions[i].tenant);
        of_shard[shards[i]]++;
    }
    for (int shard = 0; shard < SHARDS; shard++) {
        struct counter_call *call = NULL;

        if (of_shard[shard] > 0)
            call = versions_of(stores, shard, shards, versions, count);
        if (call)
            calls[calls_count++] = call;
    }
    if (calls_count > 0)
        (void)stores_run(stores, calls, calls_count, &reason);
}

/*
 * Another database process may be another database: an earlier state of this one, with other tenants
 * under the same numbers and other limits under the same versions.
 */
static void forget_plans(struct look *look, struct duty_tools *tools,
                         const struct ledger_beat *beat)
{
    if (beat->versions_position < look->versions_position)
        log_error("janitor",
                  "root.went_back position=%" PRId64 " was=%" PRId64
                  ": the database is not what it was; all plans are read again",
                  beat->versions_position, look->versions_position);
    plans_forget_all(tools->stores->services->plans);
    look->versions_position = beat->versions_position;
}

/*
 * A standby has taken over, or it is another cluster altogether: what is believed is compared with it anew,
 * even if nothing of it looks changed.
 */
static void look_at_root(struct look *look, struct duty_tools *tools,
                         const struct ledger_beat *beat)
{
    struct services *services = tools->stores->services;

    if (!status_note_root(services->status_board, beat->system, beat->timeline))
        return;
    plans_forget_all(services->plans);
    look->authority_changes = -1; /* of no beat: all rows are read */
}

static enum duty_end look_at_versions(struct look *look, struct duty_tools *tools,
                                      const struct ledger_beat *beat)
{
    struct stores *stores = tools->stores;
    struct ledger_version *versions;
    size_t count;
    enum status status;

    if (!look->known)
        look->versions_position = beat->versions_position;
    else if (beat->started_ms != look->started_ms ||
             beat->versions_position < look->versions_position)
        forget_plans(look, tools, beat);
    look->started_ms = beat->started_ms;
    if (beat->versions_position == look->versions_position)
        return DUTY_DONE;
    if (look->versions_position ==
        0) { /* what comes after no tenants at all: nothing is believed */
        look->versions_position = beat->versions_position;
        plans_forget_all(stores->services->plans);
        return DUTY_DONE;
    }
    status = stores->table->versions_since(stores->db, &stores->scratch, &look->versions_position,
                                           &versions, &count);
    if (status != STATUS_OK)
        return duty_failed(tools, "versions", status);
    for (size_t i = 0; i < count; i++)
        /* Also one of the same version: the root may have gone back and come to it again. */
        plans_forget(stores->services->plans, versions[i].tenant);
    bring_versions(stores, versions, count);
    return count == LEDGER_VERSIONS_MAX ? DUTY_MORE : DUTY_DONE;
}

static enum status beat(struct duty_tools *tools, struct ledger_beat *ret)
{
    struct stores *stores = tools->stores;
    struct services *services = stores->services;
    struct slice own = slice_from_cstr(services->server_name);
    int64_t before_us = clock_mono_us(services->clock);
    enum status status =
        stores->table->beat_run(stores->db, &stores->scratch, own,
                                services_busy(services) ? SHARES_BUSY_LASTS_MS : SHARES_LASTS_MS,
                                services->options.events_keep_ms, ret);

    status_note(services->status_board, STATUS_STORE_POSTGRES, status == STATUS_OK,
                clock_wall_ms(services->clock), clock_mono_us(services->clock) - before_us,
                stores->table->database_error(stores->db));
    if (status == STATUS_OK)
        dirty_set(services->dirty, ret->placed_tenants, ret->placed_count, before_us);
    if (status == STATUS_OK)
        shares_set(services->shares, own, ret->others, ret->others_count);
    return status;
}

/*
 * Only for the status page; what Redis is worth, the guard of each script finds out. That goes over a fresh
 * connection once a second, so that this thread's next scripts notice where the address leads now: an old
 * primary may go on answering whoever was connected before, and then nobody else notices.
 */
static void observe(struct look *look, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    const struct clock *clock = stores->services->clock;
    int64_t before_us = clock_mono_us(clock);
    struct counter_observe call = {.call = {.kind = COUNTER_OBSERVE, .arena = &stores->scratch}};

    if (redis_is_away(stores->services)) /* duty_probe looks */
        return;
    if (before_us - look->renewed_us >= LOOK_EVERY_MS * INT64_C(1000)) {
        stores->table->counter_renew(stores->counter);
        look->renewed_us = before_us;
    }
    stores->table->counter_add(stores->counter, &call.call);
    stores->table->counter_run(stores->counter);
    (void)status_note_redis(stores->services->status_board, &call, clock_wall_ms(clock),
                            clock_mono_us(clock) - before_us,
                            stores->table->counter_last_error(stores->counter));
    redis_note(stores, call.call.status);
}

/* When next: as this server does itself, or when another one will be missed if it says no more. */
static int64_t next_look_ms(const struct services *services, const struct ledger_beat *now)
{
    int64_t again_ms = services_busy(services) ? LOOK_BUSY_MS : LOOK_EVERY_MS;
    int64_t missed_ms = now->others_until_ms - now->now_ms + 1;

    if (now->others_count > 0 && missed_ms < again_ms)
        again_ms = missed_ms > LOOK_EARLIEST_MS ? missed_ms : LOOK_EARLIEST_MS;
    return again_ms;
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct look *look = own;
    struct ledger_beat now;
    enum status status = beat(tools, &now);
    enum duty_end end;

    observe(look, tools);
    if (status != STATUS_OK)
        return duty_failed(tools, "beat", status);
    *tools->news = (struct duty_news){.leases_due = now.leases_due,
                                      .closings_due = now.closings_due,
                                      .rows_due = now.rows_due,
                                      .lent = now.lent,
                                      .system = now.system,
                                      .timeline = now.timeline,
                                      .degraded = now.degraded,
                                      .begun_ms = now.begun_ms};
    look_at_root(look, tools, &now);
    end = look_at_authority(look, tools, now.authority_hash);
    tools->news->uncompared =
        end != DUTY_FAILED && now.uncompared; /* which shards there are is known */
    if (end == DUTY_DONE)
        end = look_at_versions(look, tools, &now);
    if (end != DUTY_FAILED)
        look->known = true;
    if (end == DUTY_DONE && now.recalls)
        end = recall_flagged(tools);
    tools->again_ms = next_look_ms(tools->stores->services, &now);
    return end == DUTY_DONE && tools->again_ms < LOOK_EVERY_MS ? DUTY_SOONER : end;
}

static void leave(void *own, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    enum status status;

    (void)own;
    status = stores->table->beat_leave(stores->db, &stores->scratch,
                                       slice_from_cstr(stores->services->server_name));
    if (status != STATUS_OK) /* the others miss it soon */
        (void)duty_failed(tools, "leave", status);
}

const struct duty duty_look = {.name = "look",
                               .every_ms = LOOK_EVERY_MS,
                               .create = look_create,
                               .destroy = free,
                               .turn = turn,
                               .leave = leave};
