#include "ledger/alarms.h"

#include "quota/times.h"

#include <criterion/criterion.h>

static struct clock_manual manual;
static struct alarms *alarms;
static struct alarms_state state;

static void start(void)
{
    clock_manual_init(&manual, 1000000, 0);
    alarms = alarms_create(&manual.clock);
}

static void stop(void)
{
    alarms_destroy(alarms);
}

TestSuite(alarms, .init = start, .fini = stop);

Test(alarms, faults_are_counted_and_the_last_one_is_kept)
{
    alarms_fault(alarms, "42P01", "no such table");
    alarms_fault(alarms, "53100", "no space left");
    alarms_read(alarms, &state);
    cr_assert_eq(state.faults, 2);
    cr_assert_str_eq(state.sqlstate, "53100");
    cr_assert_str_eq(state.fault, "no space left");
    cr_assert_eq(state.aside_count, 0);
}

Test(alarms, a_tenant_is_set_aside_for_a_while_only)
{
    cr_assert_not(alarms_is_aside(alarms, 7));
    alarms_set_aside(alarms, 7, "leased");
    cr_assert(alarms_is_aside(alarms, 7));
    cr_assert_not(alarms_is_aside(alarms, 8));
    alarms_read(alarms, &state);
    cr_assert_eq(state.aside_count, 1);
    cr_assert_eq(state.aside[0], 7);
    clock_manual_advance_us(&manual, ALARMS_ASIDE_MS * INT64_C(1000));
    cr_assert_not(alarms_is_aside(alarms, 7));
    alarms_read(alarms, &state);
    cr_assert_eq(state.aside_count, 0);
    cr_assert_eq(state.set_aside, 1);
}

Test(alarms, set_aside_again_the_time_begins_anew)
{
    alarms_set_aside(alarms, 7, "leased");
    clock_manual_advance_us(&manual, 6000000);
    alarms_set_aside(alarms, 7, "leased");
    clock_manual_advance_us(&manual, 6000000);
    cr_assert(alarms_is_aside(alarms, 7));
    alarms_read(alarms, &state);
    cr_assert_eq(state.aside_count, 1);
    cr_assert_eq(state.set_aside, 2);
}

Test(alarms, of_too_many_tenants_the_oldest_is_forgotten)
{
    for (int64_t i = 0; i <= ALARMS_ASIDE_MAX; i++) {
        alarms_set_aside(alarms, i, "leased");
        clock_manual_advance_us(&manual, 1);
    }
    cr_assert_not(alarms_is_aside(alarms, 0));
    cr_assert(alarms_is_aside(alarms, 1));
    cr_assert(alarms_is_aside(alarms, ALARMS_ASIDE_MAX));
}

Test(alarms, without_a_table_nothing_is_known)
{
    alarms_fault(NULL, "42P01", "no such table");
    alarms_set_aside(NULL, 7, "leased");
    cr_assert_not(alarms_is_aside(NULL, 7));
    alarms_read(NULL, &state);
    cr_assert_eq(state.faults, 0);
}
