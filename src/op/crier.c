#include "op/crier.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/thread.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/crossings.h"
#include "op/redis.h"
#include "op/shares.h"
#include "op/stores.h"
#include "quota/times.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    TAGS = SHARDS / COUNTER_TAG_SHARDS,
    TAG_QUOTAS_MAX = 64, /* of a tag in one turn */
    QUOTAS_MAX = TAGS * TAG_QUOTAS_MAX,
    UNTOLD_PAUSE_US = 100000, /* so often is asked at most while nothing can be told */
};

/* Where the next page of a tag begins: whoever cannot be told keeps nobody else of the tag from it. */
struct place_in_tag {
    char cursor[COUNTER_CURSOR_CHARS + 1];
    char after[COUNTER_FIELD_CHARS + 1];
};

struct crier {
    struct services *services;
    struct stores *stores;
    pthread_t thread;
    _Atomic bool stopping;
    struct place_in_tag places[TAGS];
    uint32_t left;    /* tags of which the last turn left something: its round goes on */
    uint32_t anew;    /* of these, something was noted meanwhile: another round follows */
    bool told_some;   /* in the rounds that go on */
    int64_t round_us; /* when all tags are looked at next */
    int64_t pause_us; /* nothing could be told: not before then, whatever is noted */
    struct log_limit log;
};

/* Some shard of the tag that is served; false: none is. */
static bool shard_of_tag(struct services *services, size_t tag, int *ret)
{
    struct shard_view view;

    for (int shard = 0; shard < SHARDS; shard++)
        if ((size_t)counter_tag(shard) == tag && authority_get(services->authority, shard, &view)) {
            *ret = shard;
            return true;
        }
    return false;
}

static bool at_start(const struct place_in_tag *place)
{
    return (!place->cursor[0] || strcmp(place->cursor, "0") == 0) && !place->after[0];
}

static void prepare(struct crier *crier, struct counter_crossed *read, size_t tag, int shard)
{
    const struct place_in_tag *place = &crier->places[tag];

    *read = (struct counter_crossed){
        .call = {.kind = COUNTER_CROSSED, .view.shard = shard, .arena = &crier->stores->scratch},
        .max = TAG_QUOTAS_MAX,
        .cursor = "0",
    };
    if (at_start(place))
        return;
    memcpy(read->cursor, place->cursor, sizeof(read->cursor));
    memcpy(read->after, place->after, sizeof(read->after));
}

/* Sets the bit of a tag that has more pages, or is to be gone through once more. */
static void move_on(struct crier *crier, const struct counter_crossed *read, uint32_t *ret_left)
{
    size_t tag = (size_t)counter_tag(read->call.view.shard);
    struct place_in_tag *place = &crier->places[tag];
    uint32_t bit = UINT32_C(1) << tag;

    memcpy(place->cursor, read->cursor, sizeof(place->cursor));
    memcpy(place->after, read->after, sizeof(place->after));
    if (!at_start(place) || (crier->anew & bit))
        *ret_left |= bit;
    if (at_start(place))
        crier->anew &= ~bit;
}

/* What is pending of a page of these tags, without tenants that have their pause. */
static struct counter_crossed_quota *read_pending(struct crier *crier, uint32_t tags,
                                                  size_t *ret_count, uint32_t *ret_left)
{
    struct stores *stores = crier->stores;
    struct counter_crossed *reads = stores_scratch(stores, TAGS, sizeof(*reads));
    struct counter_crossed_quota *all = stores_scratch(stores, QUOTAS_MAX, sizeof(*all));
    struct counter_call *calls[TAGS];
    enum recovery reason;
    size_t count = 0;
    int shard;

    *ret_count = 0;
    *ret_left = 0;
    for (size_t tag = 0; tag < TAGS; tag++) {
        if (!(tags >> tag & 1) || !shard_of_tag(stores->services, tag, &shard))
            continue;
        prepare(crier, &reads[count], tag, shard);
        calls[count] = &reads[count].call;
        count++;
    }
    if (count > 0)
        (void)stores_run(stores, calls, count, &reason); /* each is looked at by itself */
    for (size_t i = 0; i < count; i++) {
        if (calls[i]->status != STATUS_OK || calls[i]->guard != GUARD_PASSED)
            continue;
        move_on(crier, &reads[i], ret_left);
        for (size_t k = 0; k < reads[i].quotas_count && *ret_count < QUOTAS_MAX; k++)
            if (!aside_has(stores->services->aside, reads[i].quotas[k].tenant_id,
                           stores_mono_us(stores)))
                all[(*ret_count)++] = reads[i].quotas[k];
    }
    return all;
}

/* In halves, until who is locked or refused is alone; he waits. False: nobody's can be written now. */
static bool write_some(struct crier *crier, struct ledger_crossed *crossed, size_t count)
{
    struct stores *stores = crier->stores;
    enum status status;

    if (count == 0)
        return true;
    status = stores->table->crossings_write(stores->db, &stores->scratch, crossed, count);
    if (status == STATUS_OK)
        return true;
    for (size_t i = 0; i < count; i++)
        crossed[i].told = false;
    if (status != STATUS_CONFLICT && !stores_refused(stores, status)) {
        log_every(&crier->log, LOG_WARN, "crier", "crossings.failed status=%s error=%s",
                  status_name(status), LOG_VALUE(stores->table->database_error(stores->db)));
        return false;
    }
    if (count == 1) {
        aside_put(stores->services->aside, crossed->tenant_id, stores_mono_us(stores));
        return true;
    }
    return write_some(crier, crossed, count / 2) &&
           write_some(crier, crossed + count / 2, count - count / 2);
}

static void take_away(struct crier *crier, const struct counter_crossed_quota *quotas,
                      const struct ledger_crossed *crossed, size_t count)
{
    struct stores *stores = crier->stores;
    struct counter_told *tells = stores_scratch(stores, SHARDS, sizeof(*tells));
    struct counter_told_quota *told = stores_scratch(stores, count, sizeof(*told));
    struct counter_call *calls[SHARDS];
    enum recovery reason;
    size_t calls_count = 0, told_count = 0;

    for (int shard = 0; shard < SHARDS; shard++) {
        size_t first = told_count;

        for (size_t i = 0; i < count; i++)
            if (quotas[i].shard == shard && crossed[i].told)
                told[told_count++] =
                    (struct counter_told_quota){quotas[i].tenant_id, quotas[i].ref,
                                                quotas[i].reached[quotas[i].reached_count - 1].name};
        if (told_count == first)
            continue;
        tells[calls_count] = (struct counter_told){.call = {.kind = COUNTER_TOLD,
                                                            .view.shard = shard,
                                                            .arena = &stores->scratch},
                                                   .quotas_count = told_count - first,
                                                   .quotas = told + first};
        calls[calls_count] = &tells[calls_count].call;
        calls_count++;
    }
    if (calls_count > 0)
        (void)stores_run(stores, calls, calls_count,
                         &reason); /* else the next turn brings it again */
}

enum told { TOLD_ALL, TOLD_SOME, TOLD_NOTHING };

/*
 * A page of each of these tags; those that have more are left. TOLD_SOME: there is more. TOLD_NOTHING: there
 * was something in the rounds that have ended, and none of it could be told, or nothing can be now.
 */
static enum told tell(struct crier *crier, uint32_t tags)
{
    struct stores *stores = crier->stores;
    size_t count, told = 0;
    struct counter_crossed_quota *quotas = read_pending(crier, tags, &count, &crier->left);
    struct ledger_crossed *crossed = stores_scratch(stores, count, sizeof(*crossed));
    bool can;

    for (size_t i = 0; i < count; i++)
        crossed[i] = (struct ledger_crossed){.tenant_id = quotas[i].tenant_id,
                                             .ref = quotas[i].ref,
                                             .reached_count = quotas[i].reached_count,
                                             .reached = quotas[i].reached};
    if (count == 0)
        return crier->left ? TOLD_SOME : TOLD_ALL;
    if (FAULT("crossings.before_write"))
        return TOLD_NOTHING;
    can = write_some(crier, crossed, count);
    for (size_t i = 0; i < count; i++)
        told += crossed[i].told;
    if (FAULT("crossings.after_write"))
        return TOLD_NOTHING;
    if (told > 0)
        take_away(crier, quotas, crossed, count);
    crier->told_some |= told > 0;
    if (!can || (!crier->left && !crier->told_some))
        return TOLD_NOTHING;
    return crier->left ? TOLD_SOME : TOLD_ALL;
}

/* Of the tags whose first shard this server looks after, so that one server asks about each. */
static uint32_t own_tags(const struct crier *crier)
{
    uint32_t tags = 0;

    for (int tag = 0; tag < TAGS; tag++)
        if (shares_own(crier->services->shares, tag * COUNTER_TAG_SHARDS))
            tags |= UINT32_C(1) << tag;
    return tags;
}

/* Whose round has passed something already. */
static uint32_t begun_tags(const struct crier *crier)
{
    uint32_t tags = 0;

    for (int tag = 0; tag < TAGS; tag++)
        if (!at_start(&crier->places[tag]))
            tags |= UINT32_C(1) << tag;
    return tags;
}

/* Returns how long there is nothing to do. */
static int turn(struct crier *crier)
{
    struct stores *stores = crier->stores;
    int64_t mono_us = stores_mono_us(stores);
    uint32_t tags;

    if (mono_us < crier->pause_us) /* what is noted stays so, and wakes nobody */
        return (int)((crier->pause_us - mono_us + 999) / 1000);
    tags = crossings_take(crier->services->crossings);
    arena_reset(&stores->scratch);
    if (mono_us >= crier->round_us) {
        crier->round_us = mono_us + CRIER_ROUND_MS * INT64_C(1000);
        if (estimate_ready(crier->services->estimate))
            tags |= own_tags(crier);
    }
    crier->anew |= tags & begun_tags(crier);
    tags |= crier->left;
    crier->left = 0;
    if (tags && !redis_is_away(crier->services)) {
        enum told told = tell(crier, tags);

        mono_us = stores_mono_us(stores);
        if (told == TOLD_SOME)
            return 0;
        crier->told_some = false;
        if (told == TOLD_NOTHING) {
            crier->left |= tags;
            crier->anew |= tags & begun_tags(crier);
            crier->pause_us = mono_us + UNTOLD_PAUSE_US;
            return (int)(UNTOLD_PAUSE_US / 1000);
        }
    }
    return mono_us >= crier->round_us ? 0 : (int)((crier->round_us - mono_us + 999) / 1000);
}

static void *run(void *user)
{
    struct crier *crier = user;
    int wait_ms = CRIER_ROUND_MS;

    while (!atomic_load(&crier->stopping)) {
        crossings_wait(crier->services->crossings, wait_ms);
        if (!atomic_load(&crier->stopping))
            wait_ms = turn(crier);
    }
    return NULL;
}

struct crier *crier_create(struct services *services)
{
    struct crier *crier = calloc(1, sizeof(*crier));
    const struct stores_options options = {
        .counter_timeout_ms = services->options.redis_timeout_ms,
        .database_connect_ms = CONNECT_SHARED_MS,
        .database_statement_ms = STATEMENT_LONG_MS,
        .database_lock_ms = LOCK_WAIT_MS,
        .hurried = true,
        .scratch_bytes = 16 * 1024,
        .scratch_bytes_max = 64u << 20,
    };

    CHECK(crier);
    crier->services = services;
    crier->stores = stores_open(services, &options);
    thread_start(&crier->thread, "crier", run, crier);
    return crier;
}

void crier_destroy(struct crier *crier)
{
    if (!crier)
        return;
    atomic_store(&crier->stopping, true);
    crossings_wake(crier->services->crossings);
    pthread_join(crier->thread, NULL);
    stores_close(crier->stores);
    free(crier);
}
