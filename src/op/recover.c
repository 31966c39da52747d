#include "op/recover.h"

#include "base/arena.h"
#include "base/entropy.h"
#include "base/hex.h"
#include "base/log.h"
#include "ledger/ledger.h"
#include "op/authority.h"
#include "op/op.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { RECOVERY_US_MAX = 1500000, RECOVERY_PAUSE_MS = 20 };

static void pause_ms(int ms)
{
    struct timespec time = {.tv_sec = 0, .tv_nsec = ms * 1000000L};

    nanosleep(&time, NULL);
}

static bool observe(struct counter *counter, int shard, struct arena *arena,
                    struct counter_observed *ret)
{
    struct counter_observe call = {.call = {.kind = COUNTER_OBSERVE, .arena = arena}};

    call.call.view.shard = shard;
    counter_add(counter, &call.call);
    counter_run(counter);
    *ret = call.call.observed;
    if (ret->evicts)
        log_error("authority", "redis.evicts shard=%d: its maxmemory-policy must be noeviction",
                  shard);
    return call.call.status == STATUS_OK && ret->master && !ret->evicts;
}

static bool agrees(const struct shard_view *view, const struct counter_observed *observed)
{
    return view->active && view->epoch == observed->epoch &&
           strcmp(view->replid, observed->replid) == 0 &&
           strcmp(view->nonce, observed->nonce) == 0;
}

/* The winner of the bump makes Redis ready and says so. False: somebody was faster; look again. */
static bool begin_epoch(struct database *db, struct counter *counter, struct arena *arena,
                        struct shard_view *view, enum recovery *ret)
{
    struct counter_init init = {.call = {.kind = COUNTER_INIT, .arena = arena}};
    uint8_t random[NONCE_CHARS / 2];
    bool won;

    entropy_fill(entropy_real(), random, sizeof(random));
    hex_encode(random, sizeof(random), view->nonce);
    init.call.view = *view;
    counter_add(counter, &init.call);
    counter_run(counter);
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
    if (ledger_authority_activate(db, view, &won, view) != STATUS_OK) {
        *ret = RECOVERY_NO_POSTGRES;
        return false;
    }
    *ret = won ? RECOVERED : RECOVERY_BUSY;
    return won;
}

static enum recovery try_once(struct services *services, struct database *db,
                              struct counter *counter, int shard, struct arena *arena)
{
    struct counter_observed observed;
    struct shard_view view;
    enum recovery recovery;
    bool won;

    if (ledger_authority_read(db, &shard, 1, &view) != STATUS_OK)
        return RECOVERY_NO_POSTGRES;
    if (!observe(counter, shard, arena, &observed))
        return RECOVERY_NO_REDIS;
    if (agrees(&view, &observed)) {
        authority_set(services->authority, &view);
        return RECOVERED;
    }
    if (ledger_authority_bump(db, &view, observed.epoch, observed.replid, "redis differs", &won,
                              &view) != STATUS_OK)
        return RECOVERY_NO_POSTGRES;
    if (!won)
        return RECOVERY_BUSY;
    if (begin_epoch(db, counter, arena, &view, &recovery)) {
        view.active = true;
        authority_set(services->authority, &view);
        log_info("authority", "shard.activated shard=%d epoch=%" PRId64 " replid=%.8s", shard,
                 view.epoch, view.replid);
    }
    return recovery;
}

static bool settled_by_another(struct services *services, int shard,
                               const struct shard_view *doubted)
{
    struct shard_view view;

    return authority_get(services->authority, shard, &view) &&
           (!doubted || view.epoch > doubted->epoch);
}

enum recovery recover_shard(struct services *services, struct database *db,
                            struct counter *counter, int shard, const struct shard_view *doubted)
{
    int64_t until_us = clock_mono_us(services->clock) + RECOVERY_US_MAX;
    pthread_mutex_t *lock = authority_recovery_lock(services->authority, shard);
    enum recovery recovery = RECOVERY_BUSY;
    struct arena arena;

    arena_init(&arena, 4096, 1 << 20);
    pthread_mutex_lock(lock);
    while (true) {
        if (settled_by_another(services, shard, doubted)) {
            recovery = RECOVERED;
            break;
        }
        arena_reset(&arena);
        recovery = try_once(services, db, counter, shard, &arena);
        if (recovery != RECOVERY_BUSY || clock_mono_us(services->clock) > until_us)
            break;
        pause_ms(RECOVERY_PAUSE_MS);
    }
    pthread_mutex_unlock(lock);
    arena_done(&arena);
    return recovery;
}

/* One round trip for every call that is still to be run and whose shard is known. */
static void run_round(struct services *services, struct counter *counter,
                      struct counter_call *const *calls, const bool *again, bool *known,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!again[i])
            continue;
        known[i] = authority_get(services->authority, calls[i]->view.shard, &calls[i]->view);
        if (known[i])
            counter_add(counter, calls[i]);
    }
    counter_run(counter);
}

static bool is_lost(const struct counter_call *call)
{
    return call->status == STATUS_OK && call->guard == GUARD_LOST;
}

bool run_counter_calls(struct services *services, struct database *db, struct counter *counter,
                       struct counter_call *const *calls, size_t count,
                       enum recovery *ret_reason)
{
    bool again[RUN_CALLS_MAX], known[RUN_CALLS_MAX];
    bool all = true;

    CHECK(count <= RUN_CALLS_MAX);
    *ret_reason = RECOVERY_NO_REDIS;
    for (size_t i = 0; i < count; i++) {
        again[i] = true;
        calls[i]->status = STATUS_UNAVAILABLE;
        calls[i]->guard = GUARD_LOST;
    }
    for (int round = 0; round < 3; round++) {
        bool left = false;

        run_round(services, counter, calls, again, known, count);
        for (size_t i = 0; i < count; i++) {
            struct shard_view doubted = calls[i]->view;

            again[i] = again[i] && (!known[i] || is_lost(calls[i]));
            if (!again[i])
                continue;
            *ret_reason = recover_shard(services, db, counter, doubted.shard,
                                        known[i] ? &doubted : NULL);
            again[i] = *ret_reason == RECOVERED;
            left = left || again[i];
        }
        if (!left)
            break;
    }
    for (size_t i = 0; i < count; i++)
        all = all && calls[i]->status == STATUS_OK && calls[i]->guard == GUARD_PASSED;
    return all;
}

bool op_run_counter(struct services *services, struct database *db, struct counter *counter,
                    int shard, struct counter_call *const *calls, size_t count,
                    bool *ret_recovering)
{
    enum recovery reason;
    bool all;

    for (size_t i = 0; i < count; i++)
        calls[i]->view.shard = shard;
    all = run_counter_calls(services, db, counter, calls, count, &reason);
    *ret_recovering = !all && reason != RECOVERY_NO_REDIS;
    return all;
}
