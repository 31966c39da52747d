/*
 * Holds past their deadline, in the active shards that this server looks after, and what is late in
 * those of others. A turn takes at most REAP_HOLDS_MAX of each; tenants with locked rows have their
 * pause first. And marks of jobs that were committed late and that Redis did not hear of (notifies.h).
 */
#include "op/duty.h"

#include "op/aside.h"
#include "op/authority.h"
#include "op/dirty.h"
#include "op/notify.h"
#include "op/reap.h"
#include "op/redis.h"
#include "op/shares.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdlib.h>

/* Holds in Postgres in one transaction: whoever takes one of the same tenant waits for its locks. */
enum { PLACED_MAX = 256 };

/* Without those whose pause is not over. */
static size_t leave_out(struct stores *stores, struct reap_want *wants, size_t count)
{
    int64_t mono_us = stores_mono_us(stores);
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (aside_until_us(stores->services->aside, wants[i].tenant_id, mono_us) <= mono_us)
            wants[kept++] = wants[i];
    return kept;
}

/* The active shards that this server looks after, or else those of the others. */
static size_t list_shards(struct services *services, bool own, int shards[SHARDS])
{
    size_t active = authority_active(services->authority, shards), count = 0;

    for (size_t i = 0; i < active; i++)
        if (shares_own(services->shares, shards[i]) == own)
            shards[count++] = shards[i];
    return count;
}

static bool waits(struct stores *stores, int64_t tenant_id)
{
    int64_t mono_us = stores_mono_us(stores);

    return aside_until_us(stores->services->aside, tenant_id, mono_us) > mono_us;
}

/* Those whose pause is not over go behind the others; returns how many are left. */
static size_t put_behind(struct stores *stores, struct ledger_due *dues, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        struct ledger_due due = dues[i];

        if (waits(stores, due.tenant_id))
            continue;
        dues[i] = dues[kept];
        dues[kept++] = due;
    }
    return kept;
}

/* Who is locked waits from here on, with all that it has. */
static enum status reap_unlocked(struct stores *stores, struct ledger_due *dues, size_t *count)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < 2 && status == STATUS_CONFLICT; i++) {
        *count = put_behind(stores, dues, *count);
        if (*count == 0)
            return STATUS_OK;
        status = stores->table->placed_reap(stores->db, &stores->scratch, dues, *count);
        for (size_t k = 0; k < *count && status != STATUS_OK; k++) {
            dues[k].reaped = false;
            if (status == STATUS_CONFLICT && dues[k].locked && !waits(stores, dues[k].tenant_id))
                aside_put(stores->services->aside, dues[k].tenant_id, stores_mono_us(stores));
        }
    }
    return status;
}

/* What is refused, or conflicts again, is looked for by halves, until it is alone; then it waits. */
static void reap_dues(struct stores *stores, struct ledger_due *dues, size_t count)
{
    enum status status = reap_unlocked(stores, dues, &count);

    if (status != STATUS_CONFLICT && !stores_refused(stores, status))
        return;
    if (count == 1) {
        aside_put(stores->services->aside, dues->tenant_id, stores_mono_us(stores));
        return;
    }
    reap_dues(stores, dues, count / 2);
    reap_dues(stores, dues + count / 2, count - count / 2);
}

/* What has been due for late_ms. *ret_removed: how many holds went. */
static enum duty_end reap_some(struct stores *stores, const int *shards, size_t shards_count,
                               int64_t late_ms, size_t *ret_removed)
{
    struct reap_want wants[REAP_TENANTS_MAX];
    enum duty_end end = DUTY_DONE;
    size_t count, removed = 0;
    bool all;

    if (shards_count == 0)
        return DUTY_DONE;
    all = reap_list(stores, shards, shards_count, late_ms, wants, &count);
    count = leave_out(stores, wants, count);
    all = reap_tenants(stores, wants, count) && all;
    for (size_t i = 0; i < count; i++) {
        removed += wants[i].removed + wants[i].discarded;
        if (wants[i].stuck)
            aside_put(stores->services->aside, wants[i].tenant_id, stores_mono_us(stores));
        if (wants[i].more && wants[i].removed + wants[i].discarded > 0)
            end = DUTY_MORE;
    }
    if (removed > 0)
        log_debug("janitor", "holds.reaped tenants=%zu holds=%zu", count, removed);
    *ret_removed += removed;
    /* Redis is away, or a shard is: the next turn tries again. */
    return end == DUTY_DONE && !all ? DUTY_FAILED : end;
}

/* The same of holds in Postgres, of all shards, and whether Redis is there or not. */
static enum duty_end reap_placed(struct duty_tools *tools, bool own, int64_t late_ms,
                                 size_t *ret_removed)
{
    struct stores *stores = tools->stores;
    struct aside *aside = stores->services->aside;
    int64_t waiting[ASIDE_MAX];
    struct ledger_due_want want = {.late_ms = late_ms, .max = REAP_HOLDS_MAX, .but = waiting};
    size_t count, reaped = 0;
    struct ledger_due *dues;
    int shards[SHARDS];
    enum status status;

    for (int shard = 0; shard < SHARDS; shard++)
        if (shares_own(stores->services->shares, shard) == own)
            shards[want.shards_count++] = shard;
    if (want.shards_count == 0 || !dirty_any(stores->services->dirty))
        return DUTY_DONE;
    want.shards = shards;
    want.but_count = aside_waiting(aside, stores_mono_us(stores), waiting);
    status = stores->table->placed_due(stores->db, &stores->scratch, &want, &dues, &count);
    if (status != STATUS_OK)
        return duty_failed(tools, "placed", status);
    for (size_t i = 0; i < count; i++)
        dues[i].reaped = false;
    for (size_t at = 0; at < count; at += PLACED_MAX)
        reap_dues(stores, dues + at, count - at < PLACED_MAX ? count - at : PLACED_MAX);
    for (size_t i = 0; i < count; i++)
        reaped += dues[i].reaped;
    *ret_removed += reaped;
    /* Behind those that nobody can reap now, who are left out of the next turn, there may be others. */
    return count == REAP_HOLDS_MAX && (reaped > 0 || aside_waiting(aside, stores_mono_us(stores),
                                                                   waiting) > want.but_count)
               ? DUTY_MORE
               : DUTY_DONE;
}

struct reaper {
    int64_t begun_us;  /* its first turn */
    int64_t others_us; /* when next to look at the shards of the others */
};

static void *reaper_create(void)
{
    struct reaper *reaper = calloc(1, sizeof(*reaper));

    CHECK(reaper);
    return reaper;
}

/* A server that begins may have had a predecessor. */
static bool is_busy(struct reaper *reaper, struct stores *stores)
{
    int64_t mono_us = stores_mono_us(stores);

    if (reaper->begun_us == 0)
        reaper->begun_us = mono_us;
    return mono_us < reaper->begun_us + BUSY_AFTER_MS * INT64_C(1000) ||
           services_busy(stores->services);
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct reaper *reaper = own;
    struct stores *stores = tools->stores;
    bool busy = is_busy(reaper, stores);
    int shards[SHARDS];
    size_t removed = 0;
    enum duty_end end, placed;

    if (!estimate_ready(stores->services->estimate))
        return DUTY_DONE;
    if (notify_marks(stores))
        return DUTY_MORE;
    /* However many are due in one place, those in the other have their turn. */
    placed = reap_placed(tools, true, 0, &removed);
    end = reap_some(stores, shards, list_shards(stores->services, true, shards), 0, &removed);
    if (placed == DUTY_MORE)
        return DUTY_MORE;
    if (end == DUTY_FAILED && redis_is_away(stores->services))
        end = DUTY_DONE; /* what Postgres holds ends in time all the same */
    if (busy && stores_mono_us(stores) >= reaper->others_us) {
        reaper->others_us = stores_mono_us(stores) + REAP_OTHERS_MS * INT64_C(1000);
        (void)reap_placed(tools, false, REAP_LATE_MS, &removed); /* the rest the next time */
        if (end != DUTY_DONE)
            return end;
        if (!redis_is_away(stores->services))
            end = reap_some(stores, shards, list_shards(stores->services, false, shards),
                            REAP_LATE_MS, &removed);
    }
    if (end == DUTY_DONE && (busy || removed > 0)) {
        tools->again_ms = REAP_BUSY_MS;
        return DUTY_SOONER;
    }
    return end;
}

const struct duty duty_reap = {.name = "reap",
                               .every_ms = REAP_EVERY_MS,
                               .create = reaper_create,
                               .destroy = free,
                               .turn = turn};
