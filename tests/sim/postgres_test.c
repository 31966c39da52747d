/*
 * The pretended Postgres against a real one: random grants, returns, reaps, commits, releases, changes of
 * limits and reads, each at both, and every row and answer that comes of it must be the same.
 *
 * The pretended clock is set to what the real one said in each call. HOLDFAST_SEED=N repeats;
 * HOLDFAST_TEST_ROUNDS=full is 100,000 operations.
 */
#include "tests/ledger/support.h"
#include "tests/sim/fibre.h"
#include "tests/sim/postgres.h"
#include "tests/sim/stores.h"
#include "tests/support/fixture.h"

#include "base/log.h"
#include "ledger/committer.h"
#include "quota/lease.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OPERATIONS = 2500, TENANTS = 3, LIMITS = 2, HOLDS = 400, GROUP = 7 };

static struct arena arena;
static struct database *real, *sim;
static struct committer *real_committer, *sim_committer;
static struct postgres postgres;
static struct chaos chaos; /* none */
static struct dice dice;
static int64_t now_ms, operations, seq;

static struct made {
    int64_t tenant_id, limits[LIMITS], epoch;
    char name[32];
    struct plan *plan;
} tenants[TENANTS];

static struct held {
    struct made *tenant;
    char job[24];
    struct hold *hold;
} holds[HOLDS];
static size_t holds_count;

static int64_t told_ms(void *user)
{
    (void)user;
    return now_ms;
}

/* --- both at once ------------------------------------------------------------------------------- */

static void same_row(const struct quota_row *a, const struct quota_row *b, const char *what)
{
#define SAME(field)                                                                                \
    cr_assert_eq((int64_t)a->field, (int64_t)b->field,                                             \
                 "%s, limit %" PRId64 ": " #field " is %" PRId64 " at Postgres, %" PRId64          \
                 " here (operation %" PRId64 ")",                                                  \
                 what, a->ref.limit_id, (int64_t)a->field, (int64_t)b->field, operations)
    SAME(ref.limit_id);
    SAME(stops.cap);
    SAME(committed);
    SAME(debt);
    SAME(leased);
    SAME(lease_id);
    SAME(granted);
    SAME(returned);
    SAME(spent);
    SAME(lease_target);
    SAME(recall);
    SAME(ledger_seq);
    SAME(level);
    SAME(state);
#undef SAME
}

static void done(void *user, struct commit_item *const *items, size_t count)
{
    (void)items;
    __atomic_add_fetch((int *)user, (int)count, __ATOMIC_SEQ_CST);
}

static int real_done, sim_done;

static void run_fibres(void (*body)(void *user), void *user)
{
    fibre_start("test", GROUP, body, user);
    fibres_run(fibre_now_us() + 100000);
}

static void open_sim(void *user)
{
    const struct database_options options = {.statement_timeout_ms = 5000};
    struct committer_options committer = {.late_window_ms = 86400000,
                                          .items_max = 1000,
                                          .lease_ms = 60000,
                                          .done = done,
                                          .user = &sim_done};
    char error[64];

    (void)user;
    sim = sim_database_create(&options);
    sim_committer = sim_committer_create(&committer, error, sizeof(error));
}

static int64_t add_limit(struct database *db, bool pretended, const struct made *tenant,
                         const char *name, int64_t amount, int64_t overage, bool *ret_deleted)
{
    struct ledger_note note = {SLICE("test"), SLICE(""), SLICE("")};
    struct ledger_limit limit = {.tenant = slice_from_cstr(tenant->name),
                                 .limit_name = slice_from_cstr(name),
                                 .scope = SLICE(""),
                                 .meter = SLICE("tokens"),
                                 .period = PERIOD_NEVER,
                                 .amount = amount,
                                 .overage_kind = overage ? OVERAGE_PERCENT : OVERAGE_NONE,
                                 .overage = overage};
    struct quota_row *rows;
    size_t count;
    bool created;
    enum ledger_admin answer;

    *ret_deleted = false;
    cr_assert_eq((pretended ? sim_limit_put : ledger_limit_put)(
                     db, &arena, &note, SLICE(""), false, 10000, &limit, &created, &rows, &count,
                     &answer),
                 STATUS_OK);
    cr_assert_eq(answer, ADMIN_DONE);
    return limit.limit_id;
}

static void make_tenant(int i)
{
    static const char *const names[LIMITS] = {"one", "two"};
    struct ledger_note note = {SLICE("test"), SLICE(""), SLICE("")};
    struct ledger_tenant tenant = {.display_name = SLICE("")};
    struct shard_view view;
    enum ledger_admin answer;
    bool deleted, won;
    int shard;

    snprintf(tenants[i].name, sizeof(tenants[i].name), "t%d", i);
    tenant.tenant = slice_from_cstr(tenants[i].name);
    cr_assert_eq(ledger_tenant_create(real, &arena, &note, false, &tenant, &answer), STATUS_OK);
    tenants[i].tenant_id = tenant.tenant_id;
    postgres.tenants_count = tenant.tenant_id - 1;
    cr_assert_eq(sim_tenant_create(sim, &arena, &note, false, &tenant, &answer), STATUS_OK);
    for (int k = 0; k < LIMITS; k++) {
        int64_t amount = dice_between(&dice, 50, 400);

        tenants[i].limits[k] =
            add_limit(real, false, &tenants[i], names[k], amount, 10 * k, &deleted);
        postgres.limits_count = tenants[i].limits[k] - 1;
        cr_assert_eq(add_limit(sim, true, &tenants[i], names[k], amount, 10 * k, &deleted),
                     tenants[i].limits[k]);
    }
    shard = plan_shard(tenant.tenant);
    cr_assert_eq(ledger_authority_read(real, &shard, 1, &view), STATUS_OK);
    cr_assert_eq(ledger_authority_bump(real, &view, 0, "r", "test", &won, &view), STATUS_OK);
    postgres.authority[shard] = (struct pg_authority){.exists = true, .view = view};
    tenants[i].epoch = view.epoch;
}

static void set_up(void)
{
    const char *seed = getenv("HOLDFAST_SEED");
    struct committer_options committer = {.conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
                                          .clock = clock_real(),
                                          .late_window_ms = 86400000,
                                          .items_max = 1000,
                                          .lease_ms = 60000,
                                          .done = done,
                                          .user = &real_done};
    char error[256];

    log_set_level(LOG_ERROR);
    dice.state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    printf("HOLDFAST_SEED=%" PRIu64 "\n", dice.state);
    arena_init(&arena, 1 << 20, SIZE_MAX / 2);
    fibres_begin(dice.state); /* before there is a thread that asks whether it is a fibre */
    real = support_open();
    real_committer = committer_create(&committer, error, sizeof(error));
    cr_assert(real_committer, "%s", error);
    postgres_init(&postgres, &chaos, told_ms, NULL);
    postgres_use(&postgres);
    now_ms = support_now_ms();
    run_fibres(open_sim, NULL);
    for (int i = 0; i < TENANTS; i++)
        make_tenant(i);
}

static void tear_down(void)
{
    printf("%" PRId64 " operations compared\n", operations);
    committer_destroy(real_committer);
    database_destroy(real);
    fibres_end();
    postgres_done(&postgres);
    arena_done(&arena);
}

TestSuite(postgres, .init = set_up, .fini = tear_down, .timeout = 900);

static struct made *any_tenant(void)
{
    return &tenants[dice_below(&dice, TENANTS)];
}

/* --- operations --------------------------------------------------------------------------------- */

static void do_grant(void)
{
    struct ledger_grant a[3], b[3];
    size_t count = (size_t)dice_between(&dice, 1, 3);
    int64_t at_ms, sim_ms;

    for (size_t i = 0; i < count; i++) {
        const struct made *tenant = any_tenant();

        a[i] = (struct ledger_grant){
            .tenant_id = tenant->tenant_id,
            .shard = plan_shard(slice_from_cstr(tenant->name)),
            .epoch = tenant->epoch - dice_one_in(&dice, 20),
            .ref = {tenant->limits[dice_below(&dice, LIMITS)], 0},
            .needed = dice_below(&dice, 30),
            .deadline_ms = now_ms + dice_between(&dice, 1, 100000),
            .outstanding = dice_below(&dice, 40),
        };
        b[i] = a[i];
    }
    cr_assert_eq(ledger_grant_run(real, &arena, a, count, &at_ms), STATUS_OK);
    now_ms = at_ms;
    cr_assert_eq(sim_grant_run(sim, &arena, b, count, &sim_ms), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(a[i].missing, b[i].missing);
        cr_assert_eq(a[i].epoch_changed, b[i].epoch_changed);
        cr_assert_eq(a[i].granted_units, b[i].granted_units);
        cr_assert_eq(a[i].old_leases_units, b[i].old_leases_units);
        if (!a[i].missing)
            same_row(&a[i].quota, &b[i].quota, "grant");
    }
}

static const struct pg_quota *row_of(const struct made *tenant, int64_t limit_id)
{
    const struct pg_quota *quota = postgres_tenant(&postgres, tenant->tenant_id)->quotas;

    while (quota && quota->row.ref.limit_id != limit_id)
        quota = quota->next;
    return quota;
}

static void do_return(void)
{
    const struct made *tenant = any_tenant();
    int64_t limit_id = tenant->limits[dice_below(&dice, LIMITS)];
    const struct pg_quota *quota = row_of(tenant, limit_id);
    struct ledger_return a = {.tenant_id = tenant->tenant_id, .ref = {limit_id, 0}}, b;

    if (!quota)
        return;
    a.lease_id = quota->row.lease_id - dice_one_in(&dice, 10);
    a.returned = quota->row.returned + dice_between(&dice, -2, 10);
    if (a.returned < 0)
        a.returned = 0;
    b = a;
    now_ms = support_now_ms();
    cr_assert_eq(ledger_return_run(real, &arena, &a, 1), STATUS_OK);
    cr_assert_eq(sim_return_run(sim, &arena, &b, 1), STATUS_OK);
    same_row(&a.quota, &b.quota, "return");
}

/* A hold as Redis would have made it, under the lease of the moment. */
static void take_hold(void)
{
    struct made *tenant = any_tenant();
    struct held *held = &holds[holds_count % HOLDS];
    struct hold *hold = arena_zalloc(&arena, sizeof(*hold));
    int64_t units = dice_below(&dice, 20);

    held->tenant = tenant;
    snprintf(held->job, sizeof(held->job), "job%zu",
             dice_one_in(&dice, 6) && holds_count > 3 ? holds_count - 2 : holds_count);
    hold->attempt = (struct attempt){tenant->epoch, ++seq};
    hold->deadline_ms = now_ms + (dice_one_in(&dice, 3) ? -20000 : 600000);
    hold->created_ms = now_ms - 30000;
    hold->scope = SLICE("");
    hold->mode = 1;
    hold->meters_count = 1;
    hold->meters = arena_zalloc(&arena, sizeof(*hold->meters));
    hold->meters[0] = (struct hold_meter){SLICE("tokens"), units};
    hold->quotas = arena_array(&arena, LIMITS, sizeof(*hold->quotas));
    for (int i = 0; i < LIMITS; i++) {
        const struct pg_quota *quota = row_of(tenant, tenant->limits[i]);
        const struct quota_row *row = quota ? &quota->row : NULL;

        if (!row || row->granted - row->returned - row->spent < units)
            return;
        hold->quotas[hold->quotas_count++] =
            (struct hold_quota){.quota = row->ref, .lease_id = row->lease_id, .units = units};
    }
    held->hold = hold;
    holds_count++;
}

static struct held *any_hold(void)
{
    size_t count = holds_count < HOLDS ? holds_count : HOLDS;
    size_t back = (size_t)dice_below(&dice, count > 30 ? 30 : (int64_t)count + 1);

    return count == 0 || back >= count ? NULL : &holds[(holds_count - 1 - back) % HOLDS];
}

static void fill_item(struct commit_item *item, const struct held *held, bool release, bool token)
{
    static const enum overrun overruns[] = {OVERRUN_RECORD, OVERRUN_STRICT, OVERRUN_CAP};
    struct settle_actual *actual = arena_zalloc(&arena, sizeof(*actual));

    *item = (struct commit_item){.arena = &arena, .give_up_us = INT64_MAX};
    item->settle.redis_asked = true;
    item->settle.looked_up_ms = now_ms;
    item->settle.kind = release ? SETTLE_RELEASE : SETTLE_COMMIT;
    item->settle.tenant_id = held->tenant->tenant_id;
    item->settle.job_id = slice_from_cstr(held->job);
    item->settle.token = token ? held->hold : NULL;
    item->settle.recall_done = true;
    item->settle.actual = actual;
    if (release || dice_one_in(&dice, 2))
        return;
    *actual = (struct settle_actual){SLICE("tokens"), dice_below(&dice, 30),
                                     overruns[dice_below(&dice, 3)]};
    item->settle.actual_count = 1;
}

static void submit_sim(void *user)
{
    cr_assert(sim_committer_submit(sim_committer, user));
}

static void same_answer(const struct commit_item *a, const struct commit_item *b)
{
    const struct settle_record *x = a->settle.record, *y = b->settle.record;

    cr_assert_eq(a->status, b->status, "status %s and %s", status_name(a->status),
                 status_name(b->status));
    cr_assert_eq(a->settle.outcome, b->settle.outcome, "outcome %d at Postgres, %d here",
                 (int)a->settle.outcome, (int)b->settle.outcome);
    cr_assert_eq(a->settle.replayed, b->settle.replayed);
    cr_assert_eq(a->settle.late, b->settle.late);
    cr_assert_eq(!x, !y);
    for (size_t i = 0; x && i < x->entries_count; i++) {
        cr_assert_eq(x->entries[i].amount, y->entries[i].amount);
        cr_assert_eq(x->entries[i].debt, y->entries[i].debt);
        cr_assert_eq(x->entries[i].counted_count, y->entries[i].counted_count);
    }
    cr_assert_eq(a->quotas_count, b->quotas_count);
    for (size_t i = 0; i < a->quotas_count; i++)
        same_row(&a->quotas[i], &b->quotas[i], "commit");
}

static void do_commit(void)
{
    const struct held *held = any_hold();
    struct commit_item a, b;
    int64_t until;

    if (!held || !held->hold)
        return;
    fill_item(&a, held, dice_one_in(&dice, 4), !dice_one_in(&dice, 4));
    cr_assert_eq(ledger_plan_load(real, slice_from_cstr(held->tenant->name), &a.plan), STATUS_OK);
    b = a;
    real_done = sim_done = 0;
    cr_assert(committer_submit(real_committer, &a));
    until = (int64_t)time(NULL) + 10;
    while (__atomic_load_n(&real_done, __ATOMIC_SEQ_CST) == 0 && time(NULL) < until)
        usleep(50);
    cr_assert_eq(real_done, 1);
    now_ms = a.now_ms;
    run_fibres(submit_sim, &b);
    cr_assert_eq(sim_done, 1);
    same_answer(&a, &b);
    plan_unref(a.plan);
}

static void do_reap(void)
{
    const struct held *held = any_hold();
    struct ledger_reap_job a, b;
    struct quota_row *rows, *sim_rows;
    size_t count, sim_count;
    int64_t reaped_ms;

    if (!held || !held->hold)
        return;
    a = (struct ledger_reap_job){.tenant_id = held->tenant->tenant_id,
                                 .job_id = slice_from_cstr(held->job),
                                 .hold = held->hold,
                                 .text = slice_from_cstr(hold_text(&arena, held->hold))};
    b = a;
    cr_assert_eq(ledger_reap_run(real, &arena, &a, 1, &reaped_ms, &rows, &count), STATUS_OK);
    now_ms = reaped_ms;
    cr_assert_eq(sim_reap_run(sim, &arena, &b, 1, &reaped_ms, &sim_rows, &sim_count), STATUS_OK);
    cr_assert_eq(a.committed, b.committed);
    cr_assert_eq(count, sim_count);
    for (size_t i = 0; i < count; i++)
        same_row(&rows[i], &sim_rows[i], "reap");
}

static void do_facts(void)
{
    const struct held *held = any_hold();
    struct ledger_job a, b;

    if (!held)
        return;
    a = b = (struct ledger_job){.tenant_id = held->tenant->tenant_id,
                                .job_id = slice_from_cstr(held->job)};
    cr_assert_eq(ledger_facts_read(real, &arena, &a, 1, &now_ms), STATUS_OK);
    cr_assert_eq(sim_facts_read(sim, &arena, &b, 1, &now_ms), STATUS_OK);
    cr_assert_eq(!a.facts.record, !b.facts.record);
    cr_assert_eq(a.facts.fences_count, b.facts.fences_count);
    cr_assert_eq(!a.facts.expired, !b.facts.expired);
    if (a.facts.expired)
        cr_assert_eq(a.facts.expired->attempt.seq, b.facts.expired->attempt.seq);
}

static void do_limit(void)
{
    static const char *const names[LIMITS] = {"one", "two"};
    const struct made *tenant = any_tenant();
    int which = (int)dice_below(&dice, LIMITS);
    int64_t amount = dice_between(&dice, 20, 600), overage = dice_one_in(&dice, 2) ? 10 : 0;
    const struct pg_quota *quota;
    bool deleted;

    now_ms = support_now_ms();
    (void)add_limit(real, false, tenant, names[which], amount, overage, &deleted);
    (void)add_limit(sim, true, tenant, names[which], amount, overage, &deleted);
    quota = row_of(tenant, tenant->limits[which]);
    if (quota)
        cr_assert_eq(fixture_sql("SELECT recall::int * 1000000 + level FROM quota"
                                 " WHERE tenant_id = %" PRId64 " AND limit_id = %" PRId64,
                                 tenant->tenant_id, tenant->limits[which]),
                     quota->row.recall * 1000000 + quota->row.level);
}

/* Another incarnation of Redis: the shard's epoch goes on. */
static void do_epoch(void)
{
    struct made *tenant = any_tenant();
    int shard = plan_shard(slice_from_cstr(tenant->name));

    fixture_sql_do("UPDATE shard_authority SET epoch = epoch + 1 WHERE shard = %d", shard);
    postgres.authority[shard].view.epoch++;
    tenant->epoch++;
}

static void do_events(void)
{
    const struct made *tenant = any_tenant();

    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant->tenant_id),
                 postgres_tenant(&postgres, tenant->tenant_id)->event_seq,
                 "%s: events after operation %" PRId64, tenant->name, operations);
}

Test(postgres, random_operations_come_out_the_same)
{
    static const struct {
        void (*run)(void);
        int64_t weight;
    } kinds[] = {{do_grant, 25}, {do_return, 8}, {take_hold, 22}, {do_commit, 25}, {do_reap, 8},
                 {do_facts, 5},  {do_limit, 3},  {do_epoch, 1},   {do_events, 3}};
    const char *rounds = getenv("HOLDFAST_TEST_ROUNDS");
    int64_t count = rounds && strcmp(rounds, "full") == 0 ? 100000 : OPERATIONS;

    for (; operations < count; operations++) {
        int64_t at = dice_below(&dice, 100);
        size_t kind = 0;

        while (at >= kinds[kind].weight)
            at -= kinds[kind++].weight;
        kinds[kind].run();
    }
}
