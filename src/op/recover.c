#include "op/recover.h"

#include "base/arena.h"
#include "base/entropy.h"
#include "base/fault.h"
#include "base/hex.h"
#include "base/log.h"
#include "op/authority.h"
#include "op/crossings.h"
#include "op/redis.h"
#include "quota/lease.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RECOVERY_PAUSE_MS = 20 };

static bool observe(struct stores *stores, int shard, struct arena *arena,
                    struct counter_observed *ret)
{
    struct counter_observe call = {.call = {.kind = COUNTER_OBSERVE, .arena = arena}};

    call.call.view.shard = shard;
    stores->table->counter_add(stores->counter, &call.call);
    stores->table->counter_run(stores->counter);
    redis_note(stores, call.call.status);
    *ret = call.call.observed;
    if (ret->layout > COUNTER_LAYOUT)
        log_error("authority",
                  "redis.layout shard=%d layout=%d known=%d: a newer server wrote its keys", shard,
                  ret->layout, COUNTER_LAYOUT);
    return call.call.status == STATUS_OK && ret->master && !ret->evicts &&
           ret->layout <= COUNTER_LAYOUT;
}

/*
 * What the row's Redis says now. If another one answers, or one that cannot be used, a fresh connection is
 * asked: only what the address leads to now may begin an epoch.
 */
static bool observe_anew(struct stores *stores, const struct shard_view *row, struct arena *arena,
                         struct counter_observed *ret)
{
    bool usable = observe(stores, row->shard, arena, ret);

    if (!ret->replid[0] || (usable && strcmp(ret->replid, row->replid) == 0))
        return usable;
    stores->table->counter_renew(stores->counter);
    return observe(stores, row->shard, arena, ret);
}

static bool agrees(const struct shard_view *view, const struct counter_observed *observed)
{
    return view->active && view->epoch == observed->epoch &&
           strcmp(view->replid, observed->replid) == 0 && strcmp(view->nonce, observed->nonce) == 0;
}

/* The winner of the bump makes Redis ready and says so. False: somebody was faster; look again. */
static bool begin_epoch(struct stores *stores, struct arena *arena, struct shard_view *view,
                        enum recovery *ret)
{
    struct counter_init init = {.call = {.kind = COUNTER_INIT, .arena = arena}};
    uint8_t random[NONCE_CHARS / 2];
    bool won;

    if (FAULT("recover.bumped")) {
        *ret = RECOVERY_NO_REDIS;
        return false;
    }
    entropy_fill(stores->services->entropy, random, sizeof(random));
    hex_encode(random, sizeof(random), view->nonce);
    init.call.view = *view;
    stores->table->counter_add(stores->counter, &init.call);
    stores->table->counter_run(stores->counter);
    if (init.call.status != STATUS_OK) {
        *ret = RECOVERY_NO_REDIS;
        return false;
    }
    if (init.call.observed.epoch != view->epoch ||
        strcmp(init.call.observed.nonce, view->nonce) != 0 ||
        strcmp(init.call.observed.replid, view->replid) != 0) {
        *ret = RECOVERY_BUSY;
        return false;
    }
    if (FAULT("recover.between")) {
        *ret = RECOVERY_NO_POSTGRES;
        return false;
    }
    if (stores->table->authority_activate(stores->db, view, &won, view) != STATUS_OK) {
        *ret = RECOVERY_NO_POSTGRES;
        return false;
    }
    *ret = won ? RECOVERED : RECOVERY_BUSY;
    return won;
}

static bool same_view(const struct shard_view *a, const struct shard_view *b)
{
    return a->epoch == b->epoch && a->active == b->active && strcmp(a->replid, b->replid) == 0 &&
           strcmp(a->nonce, b->nonce) == 0;
}

/* Is this row, read after the belief was held, one that cannot have followed it? */
static bool went_back(const struct shard_view *row, const struct shard_view *believed)
{
    return row->epoch < believed->epoch ||
           (row->epoch == believed->epoch && believed->active && !same_view(row, believed));
}

/* above: the new epoch is later than this, and a row that is not does not count. */
static enum recovery try_once(struct stores *stores, int shard, int64_t above, const char *reason,
                              struct arena *arena)
{
    struct counter_observed observed;
    struct shard_view view, believed;
    enum recovery recovery;
    bool known = authority_believed(stores->services->authority, shard, &believed), won;

    if (stores->table->authority_read(stores->db, &shard, 1, &view) != STATUS_OK)
        return RECOVERY_NO_POSTGRES;
    if (known && went_back(&view, &believed)) {
        log_error("authority",
                  "root.went_back shard=%d epoch=%" PRId64 " believed=%" PRId64
                  ": the database is not what it was; beginning a new epoch",
                  shard, view.epoch, believed.epoch);
        above = believed.epoch > above ? believed.epoch : above;
        reason = "the root went back";
    }
    if (!observe_anew(stores, &view, arena, &observed))
        return RECOVERY_NO_REDIS;
    if (agrees(&view, &observed) && view.epoch > above) {
        authority_set(stores->services->authority, &view);
        return RECOVERED;
    }
    if (strcmp(view.replid, observed.replid) != 0 &&
        !authority_may_begin_on(stores->services->authority, shard, observed.replid,
                                services_mono_us(stores->services)))
        return RECOVERY_NO_REDIS; /* the row names another, which lives for somebody */
    if (observed.epoch > above && observed.epoch - view.epoch <= LEASE_EPOCHS_AHEAD)
        above = observed.epoch;
    if (stores->table->authority_bump(stores->db, &view, above, observed.replid, reason, &won,
                                      &view) != STATUS_OK)
        return RECOVERY_NO_POSTGRES;
    if (!won)
        return RECOVERY_BUSY;
    if (begin_epoch(stores, arena, &view, &recovery)) {
        view.active = true;
        authority_set(stores->services->authority, &view);
        log_info("authority", "shard.activated shard=%d epoch=%" PRId64 " replid=%.8s reason=%s",
                 shard, view.epoch, view.replid, LOG_VALUE(reason));
    }
    return recovery;
}

static bool taken_by_another(struct services *services, int shard, const struct shard_view *doubted)
{
    struct shard_view view;

    return authority_get(services->authority, shard, &view) &&
           (!doubted || view.epoch > doubted->epoch);
}

/* False: another thread is at it, or at a shard whose lock is the same. */
static bool begins(pthread_mutex_t *lock, bool waits)
{
    if (!waits)
        return pthread_mutex_trylock(lock) == 0;
    pthread_mutex_lock(lock);
    return true;
}

/* waits: for another server or thread that is at it; else RECOVERY_BUSY comes at once. */
static enum recovery recover(struct stores *stores, int shard, const struct shard_view *doubted,
                             int64_t above, const char *reason, bool waits)
{
    struct services *services = stores->services;
    int64_t until_us = services_mono_us(services) + RECOVERY_MAX_MS * INT64_C(1000);
    pthread_mutex_t *lock = authority_recovery_lock(services->authority, shard);
    enum recovery recovery = RECOVERY_BUSY;
    struct arena arena;

    if (!begins(lock, waits))
        return RECOVERY_BUSY;
    arena_init(&arena, 4096, 1 << 20);
    while (true) {
        if (taken_by_another(services, shard, doubted)) {
            recovery = RECOVERED;
            break;
        }
        arena_reset(&arena);
        recovery = try_once(stores, shard, above, reason, &arena);
        if (recovery != RECOVERY_BUSY || !waits || services_mono_us(services) > until_us)
            break;
        stores->table->pause_ms(RECOVERY_PAUSE_MS);
    }
    pthread_mutex_unlock(lock);
    arena_done(&arena);
    return recovery;
}

/*
 * doubted: the view that Redis refused, or NULL if there is none yet. Waits RECOVERY_MAX_MS at most; with
 * hurried stores for nobody.
 */
static enum recovery recover_shard(struct stores *stores, int shard,
                                   const struct shard_view *doubted)
{
    return recover(stores, shard, doubted, 0, "redis differs", !stores->hurried);
}

/*
 * What stands in the way (a store is away) stands in the way of whoever asks next, and is said there. Hurried
 * stores wait here, too: nobody else may find out soon that the database went back.
 */
static void begin_above(struct stores *stores, const struct shard_view *doubted, int64_t epoch,
                        const char *reason)
{
    enum recovery recovery = recover(stores, doubted->shard, doubted, epoch, reason, true);

    if (recovery != RECOVERED)
        log_warn("authority", "recovery.waits shard=%d why=%d", doubted->shard, (int)recovery);
}

static void take_row(struct stores *stores, const struct shard_view *believed_or_null,
                     const struct shard_view *row)
{
    if (believed_or_null && went_back(row, believed_or_null))
        begin_above(stores, believed_or_null, believed_or_null->epoch, "the root went back");
    else
        authority_set(stores->services->authority, row);
}

void recover_look(struct stores *stores, int shard)
{
    struct shard_view believed, row;
    bool known = authority_believed(stores->services->authority, shard, &believed);

    if (stores->table->authority_read(stores->db, &shard, 1, &row) == STATUS_OK)
        take_row(stores, known ? &believed : NULL, &row);
}

void recover_all(struct stores *stores, const struct shard_view *before, const bool *before_known,
                 const struct shard_view *rows, const bool *rows_known)
{
    for (int shard = 0; shard < SHARDS; shard++) {
        struct shard_view none = {.shard = shard};

        if (rows_known[shard] || before_known[shard])
            take_row(stores, before_known[shard] ? &before[shard] : NULL,
                     rows_known[shard] ? &rows[shard] : &none);
    }
}

void recover_above(struct stores *stores, int shard, int64_t epoch, const char *seen)
{
    struct shard_view doubted = {.shard = shard, .epoch = epoch};

    log_error("authority",
              "root.went_back shard=%d epoch=%" PRId64 " seen=%s: Redis knows what the "
              "database does not; beginning a new epoch",
              shard, epoch, LOG_VALUE(seen));
    begin_above(stores, &doubted, epoch, seen);
}

/* One round trip for every call that is still to be run and whose shard is known. */
static void run_round(struct stores *stores, struct counter_call *const *calls, const bool *again,
                      bool *known, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!again[i])
            continue;
        known[i] =
            authority_get(stores->services->authority, calls[i]->view.shard, &calls[i]->view);
        if (known[i])
            stores->table->counter_add(stores->counter, calls[i]);
    }
    stores->table->counter_run(stores->counter);
    for (size_t i = 0; i < count; i++)
        if (again[i] && known[i])
            redis_note(stores, calls[i]->status);
}

enum cleaned {
    CLEANED,
    CLEAN_LOST, /* the shard is none that is believed in: another has ended its epoch, for one */
    CLEAN_FAILED,
};

static enum cleaned clean(struct stores *stores, int shard, const int64_t *tenants, size_t count,
                          const char *why)
{
    struct counter_clean clean = {.call = {.kind = COUNTER_CLEAN, .arena = &stores->scratch},
                                  .tenants_count = count,
                                  .tenants = tenants};

    if (!authority_get(stores->services->authority, shard, &clean.call.view))
        return CLEAN_LOST;
    stores->table->counter_add(stores->counter, &clean.call);
    stores->table->counter_run(stores->counter);
    if (clean.call.status != STATUS_OK)
        return CLEAN_FAILED;
    if (clean.call.guard != GUARD_PASSED)
        return CLEAN_LOST;
    if (clean.removed > 0)
        log_error("mend",
                  "redis.unreadable shard=%d tenants=%zu first=%" PRId64 " removed=%zu why=%s: it"
                  " counts as lost from now on",
                  shard, count, count > 0 ? tenants[0] : 0, clean.removed, LOG_VALUE(why));
    return CLEANED;
}

bool stores_clean(struct stores *stores, int shard, const int64_t *tenants, size_t count,
                  const char *why)
{
    return clean(stores, shard, tenants, count, why) == CLEANED;
}

/*
 * Whatever the script could not read is gone then, perhaps by another thread, and perhaps the epoch of the
 * shard with it: it may run again, which tells.
 */
static bool clean_after(struct stores *stores, struct counter_call *call)
{
    int64_t *tenants = stores_scratch(stores, COUNTER_LIST_MAX, sizeof(*tenants));
    char why[160];

    snprintf(why, sizeof(why), "%s", stores->table->counter_last_error(stores->counter));
    return clean(stores, call->view.shard, tenants, counter_tenants(call, tenants), why) !=
           CLEAN_FAILED;
}

/* The call failed so once more. */
static void tell_corrupt(struct stores *stores, struct counter_call *call)
{
    int64_t *tenants = stores_scratch(stores, COUNTER_LIST_MAX, sizeof(*tenants));
    size_t count = counter_tenants(call, tenants);

    log_every(&stores->corrupt_log, LOG_ERROR, "mend",
              "redis.corrupt shard=%d tenants=%zu first=%" PRId64 " error=%s", call->view.shard,
              count, count > 0 ? tenants[0] : 0,
              LOG_VALUE(stores->table->counter_last_error(stores->counter)));
}

static bool is_lost(const struct counter_call *call)
{
    return call->status == STATUS_OK && call->guard == GUARD_LOST;
}

static bool is_corrupt(const struct counter_call *call)
{
    return call->status == STATUS_CORRUPT;
}

/* True: what the call could not read is gone, and it may run again. Once for each call. */
static bool clean_once(struct stores *stores, struct counter_call *call, bool *cleaned)
{
    if (*cleaned) {
        tell_corrupt(stores, call);
        return false;
    }
    *cleaned = true;
    return clean_after(stores, call);
}

bool stores_run(struct stores *stores, struct counter_call *const *calls, size_t count,
                enum recovery *ret_reason)
{
    bool again[STORES_CALLS_MAX], known[STORES_CALLS_MAX], cleaned[STORES_CALLS_MAX] = {false};
    bool all = true, failed = false;

    CHECK(count <= STORES_CALLS_MAX);
    *ret_reason = RECOVERY_NO_REDIS;
    for (size_t i = 0; i < count; i++) {
        again[i] = true;
        calls[i]->status = STATUS_UNAVAILABLE;
        calls[i]->guard = GUARD_LOST;
    }
    for (int round = 0; round < 3 && !redis_is_away(stores->services); round++) {
        bool left = false;

        run_round(stores, calls, again, known, count);
        for (size_t i = 0; i < count; i++) {
            struct shard_view doubted = calls[i]->view;
            enum recovery recovery;

            again[i] = again[i] && (!known[i] || is_corrupt(calls[i]) || is_lost(calls[i]));
            if (!again[i])
                continue;
            if (known[i] && is_corrupt(calls[i])) {
                again[i] = clean_once(stores, calls[i], &cleaned[i]);
                left = left || again[i];
                continue;
            }
            recovery = recover_shard(stores, doubted.shard, known[i] ? &doubted : NULL);
            again[i] = recovery == RECOVERED;
            left = left || again[i];
            if (!again[i] || !failed)
                *ret_reason = recovery; /* what stands in the way, whatever went well after it */
            failed = failed || !again[i];
        }
        if (!left)
            break;
    }
    for (size_t i = 0; i < count; i++) {
        all = all && calls[i]->status == STATUS_OK && calls[i]->guard == GUARD_PASSED;
        if (crossings_in(calls[i]))
            crossings_note(stores->services->crossings, calls[i]->view.shard);
    }
    return all;
}

bool stores_left_busy(const struct stores *stores, const struct counter_call *call,
                      enum recovery reason)
{
    /* UNAVAILABLE: its shard is not known yet. */
    return stores->hurried && reason == RECOVERY_BUSY && call->guard == GUARD_LOST &&
           (call->status == STATUS_OK || call->status == STATUS_UNAVAILABLE);
}

bool stores_run_shard(struct stores *stores, int shard, struct counter_call *const *calls,
                      size_t count, bool *ret_recovering)
{
    enum recovery reason;
    bool all;

    for (size_t i = 0; i < count; i++)
        calls[i]->view.shard = shard;
    all = stores_run(stores, calls, count, &reason);
    *ret_recovering = !all && reason != RECOVERY_NO_REDIS;
    return all;
}
