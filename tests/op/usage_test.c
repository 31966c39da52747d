/* GetUsage and snapshots: what they ask of the stores follows what they show. */
#include "op/queries.h"

#include "op/plans.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { LIMITS = 3000, PAGE = 128, SHARD = 3 };

static struct pretend *pretend;
static struct arena arena;
static char names[LIMITS][16];
static int64_t version;    /* in the database */
static bool always_changes; /* with each time that it is asked */
static bool minutes;        /* the limits are of a minute */
static int64_t next_now_ms; /* the database's clock, as its next answer shows it; 0: it stands */
static size_t loads, reads, quotas_read, shown, finished;

/* The names are in another order than the numbers. */
static struct plan *plan_now(void)
{
    static struct limit limits[LIMITS];
    const struct plan plan = {.tenant_id = 7,
                              .tenant = SLICE("acme"),
                              .shard = SHARD,
                              .config_version = version,
                              .limits_count = LIMITS,
                              .limits = limits};

    for (int i = 0; i < LIMITS; i++) {
        snprintf(names[i], sizeof(names[i]), "limit-%04d", (i * 1009 + 17) % LIMITS);
        limits[i] = (struct limit){.limit_id = 1 + i,
                                   .name = slice_from_cstr(names[i]),
                                   .scope = SLICE(""),
                                   .meter = SLICE("tokens"),
                                   .period = minutes ? PERIOD_MINUTE : PERIOD_NEVER,
                                   .amount = 100,
                                   .cap = 100,
                                   .soft = 90};
    }
    return plan_create(&plan);
}

static enum status load(struct database *db, struct slice tenant, struct plan **ret)
{
    (void)db;
    cr_assert(slice_equal(tenant, SLICE("acme")));
    loads++;
    *ret = plan_now();
    return STATUS_OK;
}

static enum status read_rows(struct database *db, struct arena *memory, const struct plan *plan,
                             const int64_t *limit_ids, size_t count, int64_t now_ms,
                             struct ledger_usage **ret, int64_t *ret_event_seq,
                             int64_t *ret_config_version)
{
    (void)db;
    (void)now_ms;
    reads++;
    quotas_read += count;
    version += always_changes;
    if (next_now_ms > 0)
        estimate_floor(&pretend->estimate, next_now_ms);
    next_now_ms = 0;
    *ret = arena_array(memory, count + 1, sizeof(**ret));
    for (size_t i = 0; i < count; i++)
        (*ret)[i] = (struct ledger_usage){
            .quota = {.tenant_id = plan->tenant_id,
                      .ref = {.limit_id = limit_ids[i]},
                      .committed = limit_ids[i],
                      .limit_name = plan_limit(plan, limit_ids[i])->name}};
    *ret_event_seq = 5;
    *ret_config_version = version;
    return STATUS_OK;
}

static void read_redis(struct counter_call *call)
{
    struct counter_read *read = container_of(call, struct counter_read, call);

    cr_assert_eq(call->kind, COUNTER_READ);
    cr_assert(read->refs_count <= 512, "%zu quotas in one script", read->refs_count);
    read->states = arena_array(call->arena, read->refs_count, sizeof(*read->states));
    for (size_t i = 0; i < read->refs_count; i++)
        read->states[i] = (struct counter_quota){0};
}

static void begin(void)
{
    struct plan *plan;

    arena_init(&arena, 4096, 1 << 28);
    pretend = pretend_begin();
    pretend->table.plan_load = load;
    pretend->table.usage_read = read_rows;
    pretend->redis = read_redis;
    version = 1;
    minutes = false;
    next_now_ms = 0;
    plan = plan_now();
    plans_put(pretend->services.plans, plan);
    plan_unref(plan);
}

static void end(void)
{
    pretend_end(pretend);
    arena_done(&arena);
}

TestSuite(usage, .init = begin, .fini = end, .timeout = 30);

static void done(struct op *op)
{
    (void)op;
    finished++;
}

static void release(struct op *op)
{
    (void)op;
}

static struct op op_of(void)
{
    return (struct op){.services = &pretend->services,
                       .arena = &arena,
                       .tenant = SLICE("acme"),
                       .done = done,
                       .release = release};
}

static struct op_usage page_after(struct slice after)
{
    struct op_usage op = {.op = op_of(), .max = PAGE, .after = after};
    size_t before = finished;

    op_usage_start(&op);
    pretend_desk(pretend);
    cr_assert_eq(finished, before + 1);
    cr_assert_eq(op.op.error.failure, FAILURE_NONE);
    return op;
}

Test(usage, a_page_reads_what_it_shows_and_no_plan_that_is_known)
{
    struct op_usage page = page_after(SLICE(""));

    cr_assert_eq(loads, 0, "the plan was read again, all %d limits of it", LIMITS);
    cr_assert_eq(reads, 1);
    cr_assert_eq(quotas_read, PAGE);
    cr_assert_eq(pretend->round_trips, 1);
    cr_assert(page.more && page.quotas_count == PAGE && page.event_seq == 5);
}

Test(usage, the_pages_show_every_limit_once_in_the_order_of_their_names)
{
    struct slice after = SLICE("");
    struct op_usage page;
    int count = 0;

    do {
        page = page_after(after);
        for (size_t i = 0; i < page.quotas_count; i++, count++) {
            char name[24];

            snprintf(name, sizeof(name), "limit-%04d", count);
            cr_assert(slice_equal(page.quotas[i].limit->name, slice_from_cstr(name)));
            cr_assert_eq(page.quotas[i].committed, page.quotas[i].limit->limit_id);
        }
        after = page.last;
    } while (page.more);
    cr_assert_eq(count, LIMITS);
}

Test(usage, a_plan_that_is_not_the_databases_is_read_again)
{
    version = 2;
    (void)page_after(SLICE(""));
    cr_assert_eq(loads, 1);
    cr_assert_eq(reads, 2);
    (void)page_after(SLICE(""));
    cr_assert_eq(loads, 1, "it is known now");
}

Test(usage, limits_that_always_change_are_shown_all_the_same)
{
    always_changes = true;
    cr_assert_eq(page_after(SLICE("")).quotas_count, PAGE);
    cr_assert_eq(loads, 1);
}

static bool wants_all(struct op_snapshot *op, struct slice scope, struct slice meter)
{
    (void)op;
    (void)scope;
    (void)meter;
    return true;
}

static void show(struct op_snapshot *op, const struct op_quota *quotas, size_t count)
{
    (void)op;
    (void)quotas;
    shown = count;
}

Test(usage, a_snapshot_is_by_the_plan_that_the_database_has)
{
    struct op_snapshot op = {.op = op_of(), .wants = wants_all, .show = show};

    op_snapshot_start(&op);
    pretend_desk(pretend);
    cr_assert(finished == 1 && shown == LIMITS && loads == 0);
    version = 2;
    op = (struct op_snapshot){.op = op_of(), .wants = wants_all, .show = show};
    op_snapshot_start(&op);
    pretend_desk(pretend);
    cr_assert(finished == 2 && shown == LIMITS && loads == 1);
}

/* Else a Watch would show the minute that is over, at a seq above that of its end. */
Test(usage, a_period_that_ends_while_it_is_read_is_read_once_more)
{
    struct op_usage page;
    struct plan *plan;

    minutes = true;
    version = 2;
    plan = plan_now();
    plans_put(pretend->services.plans, plan);
    plan_unref(plan);
    estimate_floor(&pretend->estimate, 59999);
    next_now_ms = 60000;
    page = page_after(SLICE(""));
    cr_assert_eq(reads, 2);
    for (size_t i = 0; i < page.quotas_count; i++)
        cr_assert_eq(page.quotas[i].period_start_ms, 60000);
    cr_assert_eq(loads, 0);
}
