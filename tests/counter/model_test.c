/*
 * Random calls against Redis and against the model: every answer and all that Redis holds must agree.
 *
 * The seeds are fixed, and one more is taken from the clock and printed: HOLDFAST_SEED=N repeats it.
 */
#include "tests/counter/fixture.h"
#include "tests/counter/model.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 1500, ITEMS = 24 };

static struct fixture f;
static struct model model;
static uint64_t state;
static int64_t now_ms;
static int64_t newest_lease; /* counter of leases handed out */
static bool many;            /* many small holds, so that the index has leaves */

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(model, .init = set_up, .fini = tear_down, .timeout = 120);

/* xorshift64*; below n. */
static int64_t below(int64_t n)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (int64_t)((state * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}

static bool one_in(int64_t n)
{
    return below(n) == 0;
}

static struct slice any_job(void)
{
    char *job = arena_printf(&f.arena, "j%" PRId64, below(many ? MODEL_JOBS : 12));

    cr_assert(job);
    return slice_from_cstr(job);
}

static int64_t any_tenant(void)
{
    return 1 + below(MODEL_TENANTS);
}

/* As the root keeps them: no more is spent than was granted, and what is held is not given back. */
static void keep_sound(struct counter_totals *totals, const struct counter_quota *quota)
{
    bool same = quota->exists && totals->lease_id == quota->lease_id;
    int64_t most = totals->granted, held = same ? quota->held : 0;

    if (same && most < quota->granted)
        most = quota->granted;
    if (totals->spent > most)
        totals->spent = most;
    if (totals->returned > most - held)
        totals->returned = most - held;
}

/* Mostly the lease that the quota has, at times the next, an earlier one or one of the last epoch. */
static struct counter_totals any_totals(int64_t tenant_id)
{
    size_t limit = (size_t)below(MODEL_LIMITS);
    const struct counter_quota *quota = &model.tenants[tenant_id - 1].quotas[limit];
    struct counter_totals totals = {.tenant_id = tenant_id, .ref = {(int64_t)limit + 1, 0}};

    totals.lease_id = quota->exists ? quota->lease_id : LEASE(newest_lease);
    if (one_in(6))
        totals.lease_id = LEASE(++newest_lease);
    else if (one_in(8))
        totals.lease_id = LEASE(1 + below(newest_lease));
    else if (one_in(30))
        totals.lease_id = (INT64_C(2) << 20) + 1 + below(5);
    totals.granted = quota->granted + below(many ? 200 : 60) - 20;
    if (totals.granted < 0)
        totals.granted = 0;
    totals.spent = quota->spent + below(8) - 3;
    if (totals.spent < 0)
        totals.spent = 0;
    totals.returned = one_in(4) ? quota->returned + below(3) : quota->returned;
    keep_sound(&totals, quota);
    totals.lease_deadline_ms = now_ms + below(many ? 900000 : 200000);
    totals.used = below(100);
    totals.debt = below(1 + totals.used);
    totals.used_seq = quota->used_seq + below(4) - 1;
    if (totals.used_seq < 0)
        totals.used_seq = 0;
    return totals;
}

static void expect_quota(const struct counter_quota *is, const struct counter_quota *should)
{
    cr_assert_eq(is->exists, should->exists);
    cr_assert_eq(is->lease_id, should->lease_id);
    cr_assert_eq(is->granted, should->granted);
    cr_assert_eq(is->returned, should->returned);
    cr_assert_eq(is->spent, should->spent);
    cr_assert_eq(is->held, should->held);
    cr_assert_eq(is->lease_deadline_ms, should->lease_deadline_ms);
    cr_assert_eq(is->used, should->used);
    cr_assert_eq(is->used_seq, should->used_seq);
    cr_assert_eq(is->debt, should->debt);
}

static void expect_totals(const struct counter_totals *is, const struct counter_totals *should,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(is[i].took, should[i].took);
        expect_quota(&is[i].now, &should[i].now);
    }
}

/* --- one step of each kind ------------------------------------------------------------------------ */

static void step_fill(bool recall)
{
    struct counter_totals totals[3];
    struct counter_totals should[3];
    struct counter_version version = {any_tenant(), 1 + below(4)};
    size_t count = (size_t)below(4);
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .totals_count = count,
                                   .totals = totals,
                                   .versions_count = one_in(10),
                                   .versions = &version};
    struct counter_recall recalling = {.call = fixture_call(&f, COUNTER_RECALL),
                                       .totals_count = count,
                                       .totals = totals};

    for (size_t i = 0; i < count; i++)
        totals[i] = any_totals(any_tenant());
    memcpy(should, totals, sizeof(should));
    fixture_run(&f, recall ? &recalling.call : &filling.call);
    filling.totals = recalling.totals = should;
    if (recall)
        model_recall(&model, &recalling);
    else
        model_fill(&model, &filling);
    expect_totals(totals, should, count);
}

static struct counter_reserve_item any_item(void)
{
    int64_t units = below(many ? 3 : 25);
    size_t quotas = 1 + (size_t)below(MODEL_LIMITS);
    struct counter_reserve_item item = item_over(&f, "", quotas, units);
    int64_t *softs = arena_array(&f.arena, quotas, sizeof(*softs));

    cr_assert(softs);
    for (size_t q = 0; q < quotas; q++)
        softs[q] = below(150);
    item.tenant_id = any_tenant();
    item.config_version = model.tenants[item.tenant_id - 1].version + (one_in(20) ? 1 : 0);
    item.job_id = any_job();
    item.deadline_ms = now_ms + 1 + below(many ? 600000 : 60000);
    if (many && one_in(2))
        item.deadline_ms = now_ms + 120000;
    item.deferrable = one_in(3);
    item.softs = softs;
    return item;
}

static void expect_item(const struct counter_reserve_item *is,
                        const struct counter_reserve_item *should)
{
    const struct model_tenant *tenant = &model.tenants[is->tenant_id - 1];

    cr_assert_eq(is->answer, should->answer, "answer %d, not %d", is->answer, should->answer);
    if (is->answer == RESERVED_SHORT)
        for (size_t q = 0; q < is->quotas_count; q++)
            cr_assert_eq(is->shortfalls[q], should->shortfalls[q]);
    for (size_t q = 0; is->states && q < is->quotas_count; q++) {
        size_t limit = (size_t)is->quotas[q].quota.limit_id - 1;

        if (is->states[q].exists)
            expect_quota(&is->states[q], &tenant->quotas[limit]);
        else
            cr_assert_eq(is->states[q].lease_id, tenant->filled[limit]);
    }
    if (is->answer == RESERVED_ADMITTED)
        cr_assert(model_attempt_equal(model_hold(&model, is->tenant_id, is->job_id), is->attempt));
    if (is->answer == RESERVED_KNOWN || is->answer == RESERVED_DUE)
        cr_assert(model_entry_equal(model_hold(&model, is->tenant_id, is->job_id), is->entry,
                                    &f.arena),
                  "%.*s", SLICE_ARGS(is->entry));
}

static void step_reserve(void)
{
    struct counter_reserve_item items[ITEMS];
    struct counter_reserve_item should[ITEMS];
    int shortfalls[ITEMS][MODEL_LIMITS];
    struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                      .now_ms = now_ms,
                                      .items_count = 1 + (size_t)below(many ? ITEMS : 6),
                                      .items = items};

    for (size_t i = 0; i < reserve.items_count; i++)
        items[i] = any_item();
    memcpy(should, items, sizeof(items));
    for (size_t i = 0; i < ITEMS; i++)
        should[i].shortfalls = shortfalls[i];
    fixture_run(&f, &reserve.call);
    reserve.items = should;
    model_reserve(&model, &reserve);
    for (size_t i = 0; i < reserve.items_count; i++)
        expect_item(&items[i], &should[i]);
}

static struct counter_notify_job any_notified(int64_t tenant_id)
{
    struct counter_notify_job job = {tenant_id, any_job(), one_in(2), {EPOCH, 1}};

    job.attempt = model_hold(&model, tenant_id, job.job_id)->attempt;
    if (one_in(6))
        job.attempt.seq++;
    return job;
}

static void step_notify(void)
{
    struct counter_notify_job jobs[4];
    struct counter_totals totals[3];
    struct counter_totals should[3];
    struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                    .now_ms = now_ms,
                                    .jobs_count = (size_t)below(5),
                                    .jobs = jobs,
                                    .totals_count = (size_t)below(4),
                                    .totals = totals};

    for (size_t i = 0; i < notify.jobs_count; i++)
        jobs[i] = any_notified(any_tenant());
    for (size_t i = 0; i < notify.totals_count; i++)
        totals[i] = any_totals(any_tenant());
    memcpy(should, totals, sizeof(should));
    fixture_run(&f, &notify.call);
    notify.totals = should;
    model_notify(&model, &notify);
    expect_totals(totals, should, notify.totals_count);
}

static void step_reap(void)
{
    struct counter_notify_job jobs[4];
    struct counter_totals totals[2];
    struct counter_totals should[2];
    struct counter_reap reap = {.call = fixture_call(&f, COUNTER_REAP),
                                .now_ms = now_ms,
                                .tenant_id = any_tenant(),
                                .reaped_to_ms = now_ms - below(2000),
                                .jobs_count = (size_t)below(5),
                                .jobs = jobs,
                                .totals_count = (size_t)below(3),
                                .totals = totals};
    size_t removed;

    for (size_t i = 0; i < reap.jobs_count; i++) {
        jobs[i] = any_notified(reap.tenant_id);
        jobs[i].committed = one_in(5);
    }
    for (size_t i = 0; i < reap.totals_count; i++)
        totals[i] = any_totals(reap.tenant_id);
    memcpy(should, totals, sizeof(should));
    fixture_run(&f, &reap.call);
    removed = reap.removed_count;
    reap.totals = should;
    model_reap(&model, &reap);
    cr_assert_eq(removed, reap.removed_count);
    expect_totals(totals, should, reap.totals_count);
}

/* The hold as it is; or, now and then, as it would be under another lease. NULL: there is none. */
static const struct hold *any_kept(int64_t tenant_id, struct slice job)
{
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = tenant_id,
                                    .jobs_count = 1,
                                    .jobs = &job};
    struct hold *hold;

    fixture_run(&f, &lookup.call);
    if (lookup.entries[0].len == 0)
        return NULL;
    cr_assert(hold_parse(&f.arena, lookup.entries[0], &hold));
    if (one_in(3))
        hold->quotas[below((int64_t)hold->quotas_count)].lease_id++;
    return hold;
}

static void step_extend(void)
{
    struct counter_extend extend = {.call = fixture_call(&f, COUNTER_EXTEND),
                                    .now_ms = now_ms,
                                    .tenant_id = any_tenant(),
                                    .job_id = any_job(),
                                    .deadline_ms = now_ms + below(90000),
                                    .lifetime_ms = 60000 + below(60000)};
    const struct model_hold *hold = model_hold(&model, extend.tenant_id, extend.job_id);
    enum counter_extended answer;
    int64_t returned[HOLD_QUOTAS_MAX];

    if (one_in(2))
        extend.attempt = hold->attempt;
    if (one_in(3))
        extend.kept = any_kept(extend.tenant_id, extend.job_id);
    for (size_t q = 0; q < sizeof(returned) / sizeof(returned[0]); q++)
        returned[q] = below(60);
    extend.kept_returned = returned;
    fixture_run(&f, &extend.call);
    answer = extend.answer;
    model_extend(&model, &extend);
    cr_assert_eq(answer, extend.answer);
    cr_assert(model_entry_equal(hold, extend.entry, &f.arena));
}

/* --- keys that are lost singly ------------------------------------------------------------------------ */

/* Looks over all tenants; what was derived is made anew. Returns how many quotas are lost. */
static size_t mend(void)
{
    struct counter_check check = {.call = fixture_call(&f, COUNTER_CHECK),
                                  .now_ms = now_ms,
                                  .max = 10,
                                  .cursor = "0"};
    size_t lost = 0;

    model_age_marks(&model, now_ms);
    do {
        fixture_run(&f, &check.call);
        for (size_t i = 0; i < check.findings_count; i++) {
            const struct counter_finding *finding = &check.findings[i];
            struct counter_rebuild rebuild = {.call = fixture_call(&f, COUNTER_REBUILD),
                                              .tenant_id = finding->tenant_id,
                                              .max = 10,
                                              .cursor = "0"};

            cr_assert_neq(finding->kind, FINDING_HELD);
            lost += finding->quotas_count;
            if (finding->kind == FINDING_DERIVED)
                do {
                    fixture_run(&f, &rebuild.call);
                } while (strcmp(rebuild.cursor, "0") != 0);
        }
    } while (strcmp(check.cursor, "0") != 0);
    return lost;
}

static void step_lose_quota(void)
{
    int64_t tenant_id = any_tenant();
    int64_t limit_id = 1 + below(MODEL_LIMITS);

    if (strcmp(fixture_cli(&f, "hdel q:{1}:2:t:%" PRId64 " %" PRId64 ":0", tenant_id, limit_id),
               "1") == 0)
        fixture_cli(&f, "hincrby q:{1}:2:t:%" PRId64 " q -1", tenant_id);
    model_lose_quota(&model, tenant_id, limit_id);
}

static size_t lost_quotas(void)
{
    size_t lost = 0;

    for (size_t t = 0; t < MODEL_TENANTS; t++)
        for (size_t q = 0; q < MODEL_LIMITS; q++)
            lost += model.tenants[t].filled[q] && !model.tenants[t].quotas[q].exists;
    return lost;
}

static void step_lose_key(void)
{
    int64_t tenant_id = any_tenant();

    switch (below(4)) {
    case 0:
        fixture_cli(&f, "del q:{1}:2:t:%" PRId64, tenant_id);
        model_lose_tenant(&model, tenant_id);
        break;
    case 1:
        fixture_cli(&f, "del q:{1}:2:c:%" PRId64, tenant_id);
        (void)mend();
        model_rebuild_filled(&model, tenant_id);
        return;
    case 2:
        fixture_cli(&f, "del q:{1}:2:i:%" PRId64, tenant_id);
        break;
    default:
        fixture_cli(&f, "del q:{1}:2:d:%" PRId64 ":%" PRId64, tenant_id, below(4));
        break;
    }
    cr_assert_eq(mend(), lost_quotas());
}

/* --- everything ------------------------------------------------------------------------------------- */

static void expect_due(int64_t tenant_id, const struct model_tenant *tenant)
{
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE),
                              .now_ms = now_ms,
                              .tenant_id = tenant_id,
                              .max = MODEL_JOBS};
    struct counter_holds holds = {.call = fixture_call(&f, COUNTER_HOLDS),
                                  .now_ms = now_ms,
                                  .tenant_id = tenant_id,
                                  .after_deadline_ms = -1,
                                  .max = MODEL_JOBS};
    size_t should = 0, live = 0;
    struct hold *hold;
    int64_t before_ms = 0;

    for (size_t j = 0; j < MODEL_JOBS; j++) {
        live += tenant->holds[j].exists;
        should += tenant->holds[j].exists && tenant->holds[j].deadline_ms <= now_ms;
    }
    fixture_run(&f, &due.call);
    cr_assert_eq(due.holds_count, should);
    fixture_run(&f, &holds.call);
    cr_assert_eq(holds.holds_count, live);
    cr_assert_eq(holds.holds_total, live);
    cr_assert_eq(holds.holds_due, should);
    for (size_t i = 0; i < live; i++) {
        cr_assert(hold_parse(&f.arena, holds.holds[i].entry, &hold));
        cr_assert_geq(hold->deadline_ms, before_ms);
        before_ms = hold->deadline_ms;
    }
}

static void expect_tenant(int64_t tenant_id)
{
    const struct model_tenant *tenant = &model.tenants[tenant_id - 1];
    const struct quota_ref refs[MODEL_LIMITS] = {{1, 0}, {2, 0}, {3, 0}};
    struct slice jobs[MODEL_JOBS];
    struct counter_read read = {.call = fixture_call(&f, COUNTER_READ),
                                .tenant_id = tenant_id,
                                .refs_count = MODEL_LIMITS,
                                .refs = refs};
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = tenant_id,
                                    .jobs_count = MODEL_JOBS,
                                    .jobs = jobs};

    for (int j = 0; j < MODEL_JOBS; j++)
        jobs[j] = slice_from_cstr(arena_printf(&f.arena, "j%d", j));
    fixture_run(&f, &read.call);
    fixture_run(&f, &lookup.call);
    for (size_t q = 0; q < MODEL_LIMITS; q++) {
        int64_t held = 0;

        if (tenant->quotas[q].exists)
            expect_quota(&read.states[q], &tenant->quotas[q]);
        cr_assert_eq(read.states[q].exists, tenant->quotas[q].exists);
        for (size_t j = 0; j < MODEL_JOBS; j++)
            for (size_t h = 0; tenant->holds[j].exists && h < tenant->holds[j].quotas_count; h++)
                if (tenant->holds[j].quotas[h].quota.limit_id == (int64_t)q + 1 &&
                    tenant->holds[j].quotas[h].lease_id == read.states[q].lease_id)
                    held += tenant->holds[j].quotas[h].units;
        if (read.states[q].exists)
            cr_assert_eq(read.states[q].held, held, "H is the sum of the holds of its lease");
    }
    for (size_t j = 0; j < MODEL_JOBS; j++)
        cr_assert(model_entry_equal(&tenant->holds[j], lookup.entries[j], &f.arena));
    expect_due(tenant_id, tenant);
}

static void expect_due_tenants(void)
{
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE),
                              .now_ms = now_ms,
                              .max = MODEL_TENANTS};
    size_t should = 0;

    for (size_t t = 0; t < MODEL_TENANTS; t++) {
        bool some = false;

        for (size_t j = 0; j < MODEL_JOBS; j++)
            some |=
                model.tenants[t].holds[j].exists && model.tenants[t].holds[j].deadline_ms <= now_ms;
        should += some;
    }
    fixture_run(&f, &due.call);
    cr_assert_eq(due.tenants_count, should);
}

static void step(void)
{
    int64_t dice = below(100);

    now_ms += below(one_in(50) ? 200000 : 3000);
    if (dice < 40)
        step_reserve();
    else if (dice < 60)
        step_fill(false);
    else if (dice < 78)
        step_notify();
    else if (dice < 88)
        step_reap();
    else if (dice < 95)
        step_extend();
    else if (dice < 99)
        step_fill(true);
    else if (one_in(2))
        step_lose_quota();
    else
        step_lose_key();
}

static void run(uint64_t seed)
{
    memset(&model, 0, sizeof(model));
    model.epoch = EPOCH;
    state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    now_ms = NOW;
    newest_lease = 1;
    fprintf(stderr, "HOLDFAST_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < STEPS; i++) {
        step();
        if (i % 10 == 0) {
            for (int64_t tenant_id = 1; tenant_id <= MODEL_TENANTS; tenant_id++)
                expect_tenant(tenant_id);
            expect_due_tenants();
        }
        arena_reset(&f.arena);
    }
}

Test(model, seed_1)
{
    run(1);
}

Test(model, seed_2)
{
    run(2);
}

Test(model, seed_3)
{
    run(3);
}

/* A list of leaves is lost, and a leaf of before must not be taken for one of its successors. */
Test(model, a_leaf_that_was_left_behind)
{
    run(UINT64_C(1795995238956));
}

Test(model, many_holds_seed_4)
{
    many = true;
    run(4);
}

Test(model, many_holds_seed_5)
{
    many = true;
    run(5);
}

Test(model, a_seed_of_the_moment)
{
    const char *given = getenv("HOLDFAST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ms(clock_real());

    many = seed % 2 == 0;
    run(seed);
}
