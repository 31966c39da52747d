#include "tests/ledger/committing.h"

#include "base/clock.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static _Atomic int event_calls;
static struct estimate estimate;
static pthread_once_t estimate_once = PTHREAD_ONCE_INIT;

static void make_estimate(void)
{
    estimate_init(&estimate);
}

static void on_done(void *user, struct commit_item *const *items, size_t count)
{
    (void)user;
    for (size_t i = 0; i < count; i++) {
        struct committing *c = container_of(items[i], struct committing, item);

        pthread_mutex_lock(&c->lock);
        c->done = true;
        c->dones++;
        pthread_cond_signal(&c->finished);
        pthread_mutex_unlock(&c->lock);
    }
}

static void on_events(void *user, const int64_t *tenants, size_t count)
{
    (void)user;
    (void)tenants;
    atomic_fetch_add(&event_calls, (int)count);
}

static struct stop stopping;

struct stop *committing_stop(void)
{
    return &stopping;
}

int committing_event_calls(void)
{
    return atomic_load(&event_calls);
}

struct committer *committing_committer(void)
{
    struct committer_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
        .clock = clock_real(),
        .estimate = &estimate,
        .stop = &stopping,
        .late_window_ms = 3600 * 1000,
        .items_max = 10000,
        .batch_max = 256,
        .lease_ms = 60000,
        .done = on_done,
        .events = on_events,
    };
    struct committer *committer;
    char error[256];

    stop_init(&stopping);
    pthread_once(&estimate_once, make_estimate);
    committer = committer_create(&options, error, sizeof(error));
    cr_assert(committer != NULL, "%s", error);
    return committer;
}

void committing_init(struct committing *c, const struct support_tenant *tenant, struct plan *plan,
                     enum settle_kind kind, const char *job_id, const struct hold *token)
{
    memset(c, 0, sizeof(*c));
    arena_init(&c->arena, 1024, 1 << 20);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->finished, NULL);
    snprintf(c->job_id, sizeof(c->job_id), "%s", job_id);
    c->item.plan = plan;
    c->item.settle.redis_asked = true;
    c->item.settle.looked_up_ms = INT64_MAX; /* Redis knows of no Extend */
    c->item.give_up_us = clock_mono_us(clock_real()) + INT64_C(120) * 1000 * 1000;
    c->item.arena = &c->arena;
    c->item.settle.kind = kind;
    c->item.settle.tenant_id = tenant->tenant_id;
    c->item.settle.job_id = slice_from_cstr(c->job_id);
    c->item.settle.token = token;
}

void committing_done(struct committing *c)
{
    arena_done(&c->arena);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->finished);
}

void committing_actual(struct committing *c, int64_t units, enum overrun overrun)
{
    c->actual = (struct settle_actual){.meter = SLICE("tokens"), .units = units, .overrun = overrun};
    c->item.settle.actual = &c->actual;
    c->item.settle.actual_count = 1;
}

void committing_submit(struct committing *c, struct committer *committer)
{
    c->done = false;
    cr_assert(committer_submit(committer, &c->item));
}

void committing_wait(struct committing *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->done)
        pthread_cond_wait(&c->finished, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

enum settle_outcome committing_run(struct committing *c, struct committer *committer)
{
    committing_submit(c, committer);
    committing_wait(c);
    cr_assert(c->item.status == STATUS_OK, "%s: %s", c->job_id, status_name(c->item.status));
    return c->item.settle.outcome;
}

void committing_lock_quota(struct database *db, const struct support_tenant *tenant)
{
    static const struct statement lock = {
        "test_lock_quota", "SELECT 1 FROM quota WHERE tenant_id = $1::bigint FOR UPDATE"};
    struct sql_params params;
    struct arena arena;

    arena_init(&arena, 4096, 1 << 20);
    cr_assert_eq(database_begin(db), STATUS_OK);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant->tenant_id);
    cr_assert_eq(database_run(db, &lock, &params, NULL), STATUS_OK);
    arena_done(&arena);
}

/* --- many at once ----------------------------------------------------------------------------- */

enum { THREADS = 8 };

struct crowd {
    struct committer *committer;
    const struct support_tenant *tenant;
    struct plan *plan;
    struct hold **holds;
    int first, count;
    int landed;
};

static void *commit_many(void *user)
{
    struct crowd *crowd = user;

    for (int i = crowd->first; i < crowd->first + crowd->count; i++) {
        struct committing c;
        char job_id[32];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&c, crowd->tenant, crowd->plan, SETTLE_COMMIT, job_id, crowd->holds[i]);
        committing_submit(&c, crowd->committer);
        committing_wait(&c);
        if (c.item.status == STATUS_OK && c.item.settle.outcome == SETTLE_COMMITTED &&
            !c.item.settle.replayed)
            crowd->landed++;
        committing_done(&c);
    }
    return NULL;
}

int committing_crowd(struct committer *committer, const struct support_tenant *tenant,
                     struct plan *plan, int each, void (*meanwhile)(void))
{
    struct arena arena;
    struct crowd crowds[THREADS];
    pthread_t threads[THREADS];
    struct hold **holds;
    int64_t deadline_ms = support_now_ms() + 300000;
    int landed = 0;

    arena_init(&arena, 1 << 16, 64 << 20);
    holds = arena_array(&arena, (size_t)(THREADS * each), sizeof(*holds));
    cr_assert(holds != NULL);
    for (int i = 0; i < THREADS * each; i++)
        holds[i] = support_hold(&arena, tenant, i + 1, 3, deadline_ms);
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){committer, tenant, plan, holds, i * each, each, 0};
        cr_assert(pthread_create(&threads[i], NULL, commit_many, &crowds[i]) == 0);
    }
    if (meanwhile)
        meanwhile();
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        landed += crowds[i].landed;
    }
    arena_done(&arena);
    return landed;
}
