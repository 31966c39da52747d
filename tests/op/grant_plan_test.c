/* Plans of one pass: what is refused of one tenant is told that one alone. */
#include "op/grant_pass.h"

#include "tests/op/pretend.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { OPS = 9 };

static struct pretend *pretend;
static struct arena arena;
static struct slice bad; /* whose plan nobody can read */
static size_t loads;

static enum status load(struct database *db, const struct slice *tenants, size_t count,
                        size_t limits_max, struct plan **ret_plans, bool *ret_large)
{
    (void)db;
    (void)limits_max;
    loads++;
    for (size_t i = 0; i < count; i++)
        if (slice_equal(tenants[i], bad))
            return STATUS_CORRUPT;
    for (size_t i = 0; i < count; i++) {
        const struct plan plan = {.tenant_id = 7, .tenant = tenants[i], .suspended = true};

        ret_plans[i] = plan_create(&plan);
        ret_large[i] = false;
    }
    return STATUS_OK;
}

Test(grant_plan, a_plan_that_cannot_be_read_is_one_tenants_affair, .timeout = 30)
{
    static char names[OPS][8];
    static struct op_reserve_work works[OPS];
    static struct op_reserve ops[OPS];
    struct op_reserve *list[OPS];
    struct granting granting = {0};
    struct pass pass = {.granting = &granting, .ops = list, .count = OPS};

    arena_init(&arena, 4096, 1 << 20);
    pretend = pretend_begin();
    pretend->table.plans_load = load;
    granting.stores = pass.stores = pretend->stores;
    for (int i = 0; i < OPS; i++) {
        snprintf(names[i], sizeof(names[i]), "t-%d", i);
        ops[i] = (struct op_reserve){.op = {.services = &pretend->services,
                                            .arena = &arena,
                                            .tenant = slice_from_cstr(names[i]),
                                            .give_up_us = INT64_MAX},
                                     .work = &works[i]};
        list[i] = &ops[i];
    }
    bad = ops[5].op.tenant;
    pass_plan(&pass);
    for (int i = 0; i < OPS; i++) {
        cr_assert_eq(ops[i].op.error.failure, i == 5 ? FAILURE_INTERNAL : FAILURE_NONE, "%s", names[i]);
        cr_assert(reserve_is(&ops[i], i == 5 ? RESERVE_ANSWERED : RESERVE_REFUSED));
        plan_unref(ops[i].op.plan);
    }
    cr_assert_lt(loads, 2 * OPS);
    pretend_end(pretend);
    arena_done(&arena);
}
