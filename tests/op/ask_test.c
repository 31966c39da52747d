#include "op/ask.h"

#include "op/aside.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { ASKS = 9, QUOTAS = 2 };

static struct pretend *p;
static int64_t refused_tenant, locked_tenant; /* 0: none */
static enum status status_of_all;
static int runs;
static char sqlstate[6];
static struct ledger_grant grants[ASKS][QUOTAS];
static struct ask asks[ASKS];

static enum status answer_of(const int64_t *tenants, size_t count)
{
    runs++;
    for (size_t i = 0; i < count; i++)
        if (tenants[i] == locked_tenant)
            return STATUS_CONFLICT;
    for (size_t i = 0; i < count; i++)
        if (tenants[i] == refused_tenant)
            return STATUS_INVALID;
    return status_of_all;
}

static enum status grant_run(struct database *db, struct arena *scratch,
                             struct ledger_grant *list, size_t count, int64_t *ret_now_ms)
{
    int64_t tenants[ASKS * QUOTAS] = {0};
    enum status status;

    (void)db, (void)scratch, (void)ret_now_ms;
    for (size_t i = 0; i < count; i++)
        tenants[i] = list[i].tenant_id;
    status = answer_of(tenants, count);
    for (size_t i = 0; i < count; i++) {
        list[i].locked = status == STATUS_CONFLICT && list[i].tenant_id == locked_tenant;
        if (status == STATUS_OK)
            list[i].granted_units = list[i].needed;
    }
    return status;
}

static enum status facts_read(struct database *db, struct arena *scratch, struct ledger_job *jobs,
                              size_t count, int64_t *ret_now_ms)
{
    int64_t tenants[ASKS] = {0};
    enum status status;

    (void)db, (void)scratch, (void)ret_now_ms;
    for (size_t i = 0; i < count; i++)
        tenants[i] = jobs[i].tenant_id;
    status = answer_of(tenants, count);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        jobs[i].facts.fences_count = (size_t)jobs[i].tenant_id;
    return status;
}

static const char *say_sqlstate(const struct database *db)
{
    (void)db;
    return sqlstate;
}

static void set_up(void)
{
    p = pretend_begin();
    p->table.grant_run = grant_run;
    p->table.facts_read = facts_read;
    p->table.database_sqlstate = say_sqlstate;
    status_of_all = STATUS_OK;
    for (int i = 0; i < ASKS; i++) {
        for (int k = 0; k < QUOTAS; k++)
            grants[i][k] = (struct ledger_grant){.tenant_id = 1 + i, .needed = 10 * i + k};
        asks[i] = (struct ask){.tenant_id = 1 + i, .grants = grants[i], .grants_count = QUOTAS,
                               .job_id = SLICE("job")};
    }
}

static void tear_down(void)
{
    pretend_end(p);
}

TestSuite(ask, .init = set_up, .fini = tear_down);

static void expect_lent_but(int but)
{
    for (int i = 0; i < ASKS; i++) {
        if (i == but)
            continue;
        cr_assert_eq(asks[i].status, STATUS_OK);
        cr_assert(!asks[i].locked && asks[i].sqlstate[0] == '\0');
        for (int k = 0; k < QUOTAS; k++)
            cr_assert_eq(grants[i][k].granted_units, 10 * i + k);
    }
}

Test(ask, all_go_in_one_transaction)
{
    ask_root(p->stores, asks, ASKS);
    expect_lent_but(-1);
    cr_assert_eq(runs, 1);
    ask_root(p->stores, asks, 0);
    cr_assert_eq(runs, 1);
}

Test(ask, an_error_is_that_of_one_wherever_it_stands)
{
    for (int bad = 0; bad < ASKS; bad++) {
        snprintf(sqlstate, sizeof(sqlstate), "23514");
        refused_tenant = 1 + bad;
        ask_root(p->stores, asks, ASKS);
        expect_lent_but(bad);
        cr_assert_eq(asks[bad].status, STATUS_INVALID);
        cr_assert_str_eq(asks[bad].sqlstate, "23514");
        cr_assert(ask_is_refused(&asks[bad]));
    }
}

Test(ask, a_record_that_cannot_be_read_is_that_of_one)
{
    refused_tenant = 4;
    ask_record(p->stores, asks, ASKS);
    for (int i = 0; i < ASKS; i++) {
        cr_assert_eq(asks[i].status, i == 3 ? STATUS_INVALID : STATUS_OK);
        if (i != 3)
            cr_assert_eq(asks[i].facts.fences_count, 1 + i);
    }
}

Test(ask, who_is_locked_is_left_out_and_set_aside)
{
    int64_t mono_us = services_mono_us(&p->services);

    locked_tenant = 6;
    ask_root(p->stores, asks, ASKS);
    expect_lent_but(5);
    cr_assert(asks[5].locked && asks[5].status == STATUS_CONFLICT);
    cr_assert(!ask_is_refused(&asks[5]));
    cr_assert_eq(runs, 2);
    cr_assert(aside_has(p->services.aside, 6, mono_us));
    cr_assert(!aside_has(p->services.aside, 5, mono_us));
    locked_tenant = 0;
    ask_root(p->stores, asks, ASKS);
    expect_lent_but(-1);
    cr_assert(!aside_has(p->services.aside, 6, mono_us), "its rows could be locked");
}

Test(ask, a_lock_and_an_error_are_each_found)
{
    locked_tenant = 2;
    refused_tenant = 8;
    ask_root(p->stores, asks, ASKS);
    cr_assert(asks[1].locked && !asks[7].locked);
    cr_assert_eq(asks[7].status, STATUS_INVALID);
    for (int i = 2; i < ASKS; i++)
        if (i != 7)
            cr_assert_eq(asks[i].status, STATUS_OK);
}

Test(ask, no_answer_is_that_of_all_and_no_error_of_long_ago)
{
    snprintf(sqlstate, sizeof(sqlstate), "42P01");
    status_of_all = STATUS_UNAVAILABLE;
    ask_root(p->stores, asks, ASKS);
    cr_assert_eq(runs, 1, "nobody is looked for");
    for (int i = 0; i < ASKS; i++) {
        cr_assert_eq(asks[i].status, STATUS_UNAVAILABLE);
        cr_assert(!ask_is_refused(&asks[i]) && asks[i].sqlstate[0] == '\0');
    }
}

Test(ask, a_conflict_of_nobody_is_tried_once_more)
{
    status_of_all = STATUS_CONFLICT;
    ask_root(p->stores, asks, ASKS);
    cr_assert_eq(runs, 2);
    for (int i = 0; i < ASKS; i++)
        cr_assert(asks[i].status == STATUS_CONFLICT && !asks[i].locked);
}
