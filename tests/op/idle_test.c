/* Which rows are asked to give back, and when: those that have not moved, or whose lease is far behind. */
#include "op/idle.h"

#include "base/amount.h"
#include "op/aside.h"
#include "op/duty.h"
#include "quota/lease.h"
#include "quota/times.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>

enum { ROWS = 3, EPOCH = 1 };

static struct pretend *pretend;
static struct idle *idle;
static struct clock_manual manual;
static struct quota_row rows[ROWS];
static size_t asked, told, set_aside, listed;
static enum counter_recall_how how;
static int64_t lowered_ms;

static enum status list(struct database *db, struct arena *arena, struct ledger_key *after,
                        size_t max, struct quota_row **ret, size_t *ret_count, bool *ret_more)
{
    (void)db;
    (void)after;
    listed++;
    cr_assert_geq(max, ROWS);
    *ret = arena_array(arena, ROWS, sizeof(**ret));
    for (int i = 0; i < ROWS; i++)
        (*ret)[i] = rows[i];
    *ret_count = ROWS;
    *ret_more = false;
    return STATUS_OK;
}

static enum status record(struct database *db, struct arena *arena, struct ledger_return *returns,
                          size_t count)
{
    (void)db;
    (void)arena;
    told += count;
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(returns[i].deadline_ms, lowered_ms);
        cr_assert_eq(returns[i].still, how == RECALL_STILL);
    }
    return STATUS_OK;
}

static enum status grant(struct database *db, struct arena *arena, struct ledger_grant *grants,
                         size_t count, int64_t *ret_now_ms)
{
    (void)db;
    (void)arena;
    for (size_t i = 0; i < count; i++)
        cr_assert(grants[i].needed == 0 && grants[i].over_too && grants[i].epoch == EPOCH);
    set_aside += count;
    *ret_now_ms = 1;
    return STATUS_OK;
}

static void give(struct counter_call *call)
{
    struct counter_recall *recall = container_of(call, struct counter_recall, call);

    cr_assert_eq(call->kind, COUNTER_RECALL);
    for (size_t i = 0; i < recall->totals_count; i++) {
        asked++;
        how = recall->spares[i].how;
        cr_assert_eq(recall->spares[i].room, 70);
        recall->spares[i].lowered_deadline_ms = lowered_ms;
        recall->totals[i].took = TOTALS_TAKEN;
        recall->totals[i].now.returned = lowered_ms ? 7 : 0;
    }
}

static void begin(void)
{
    pretend = pretend_begin();
    pretend->table.lent = list;
    pretend->table.return_run = record;
    pretend->table.grant_run = grant;
    pretend->redis = give;
    clock_manual_init(&manual, 1000000000, 1764072000000);
    pretend->services.clock = &manual.clock;
    pretend->services.options.lease_min_ms = LEASE_MIN_MS;
    idle = idle_create();
    for (int i = 0; i < ROWS; i++)
        rows[i] = (struct quota_row){
            .tenant_id = 1 + i,
            .ref = {.limit_id = 1},
            .stops = {.soft = 90, .amount = 100, .cap = 100},
            .leased = 30,
            .shard = i,
            .epoch = EPOCH,
            .lease_id = EPOCH * LEASE_IDS_PER_EPOCH,
            .granted = 30,
        };
}

static void end(void)
{
    idle_destroy(idle);
    pretend_end(pretend);
}

TestSuite(idle, .init = begin, .fini = end, .timeout = 30);

/* So much later. */
static void look(int64_t after_ms)
{
    bool more;

    clock_manual_advance_us(&manual, after_ms * 1000);
    asked = told = set_aside = 0;
    cr_assert_eq(idle_turn(idle, pretend->stores, &more), STATUS_OK);
    cr_assert_not(more);
    arena_reset(&pretend->stores->scratch);
}

Test(idle, what_has_not_moved_is_asked_once_and_then_now_and_then)
{
    look(0);
    cr_assert_eq(asked, 0);
    look(IDLE_STILL_MS - 1);
    cr_assert_eq(asked, 0);
    look(1);
    cr_assert_eq(asked, ROWS);
    cr_assert_eq(how, RECALL_STILL);
    cr_assert_eq(told, 0, "nothing came back");
    look(IDLE_ROUND_MS);
    cr_assert_eq(asked, 0);
    look(20000);
    cr_assert_eq(asked, ROWS);
}

Test(idle, what_moves_is_left_alone)
{
    for (int i = 0; i < 10; i++) {
        rows[0].spent++;
        look(IDLE_ROUND_MS);
        cr_assert_leq(asked, ROWS - 1);
    }
}

Test(idle, what_comes_back_is_told_with_the_deadline)
{
    lowered_ms = 12345;
    look(0);
    look(IDLE_STILL_MS);
    cr_assert_eq(told, ROWS);
    lowered_ms = 0;
}

Test(idle, what_moves_under_a_lease_that_is_far_behind_is_asked_for_that_alone)
{
    rows[1].lease_deadline_ms = stores_now_ms(pretend->stores) + 10 * LEASE_MIN_MS;
    look(0);
    cr_assert_eq(asked, 1);
    cr_assert_eq(how, RECALL_MOVING);
    rows[1].spent++;
    look(IDLE_ROUND_MS);
    cr_assert_eq(asked, 0, "it was asked a moment ago");
}

Test(idle, a_lease_of_an_earlier_epoch_is_set_aside_whatever_else_is_wanted_of_it)
{
    rows[0].lease_id = 0;
    rows[0].recall = true;
    rows[1].recall = true;
    look(0);
    cr_assert_eq(set_aside, 1);
    look(IDLE_STILL_MS);
    cr_assert_eq(asked, 1, "the flag of the second is the recall's");
}

Test(idle, tenants_that_wait_alone_are_left_out)
{
    aside_put(pretend->services.aside, 1, stores_mono_us(pretend->stores));
    look(0);
    aside_put(pretend->services.aside, 1, stores_mono_us(pretend->stores) + 5000000);
    look(IDLE_STILL_MS);
    cr_assert_eq(asked, ROWS - 1);
}

/* Numbers have an end: of a lease under which very much came back nothing comes back but the whole. */
Test(idle, a_worn_lease_is_left_alone_until_it_is_over)
{
    rows[0].granted = AMOUNT_MAX;
    rows[0].spent = AMOUNT_MAX - 30;
    rows[0].lease_deadline_ms = stores_now_ms(pretend->stores) + HOUR_IN_MS;
    look(0);
    look(IDLE_STILL_MS);
    cr_assert_eq(asked, ROWS - 1);
    rows[0].lease_deadline_ms = 0;
    look(IDLE_STILL_MS);
    cr_assert_eq(asked, 1);
}

/* What settled costs nothing: the beat says so. */
Test(idle, rounds_begin_only_while_something_is_lent)
{
    static struct log_limit log_limit;
    struct duty_news news = {.lent = false};
    struct duty_tools tools = {.stores = pretend->stores, .log = &log_limit, .news = &news};
    void *own = duty_idle.create();

    estimate_observe(&pretend->estimate, 1764072000000, clock_mono_us(&manual.clock),
                     clock_mono_us(&manual.clock));
    for (int i = 0; i < 10; i++) {
        clock_manual_advance_us(&manual, IDLE_EVERY_MS * INT64_C(1000));
        cr_assert_eq(duty_idle.turn(own, &tools), DUTY_DONE);
    }
    cr_assert_eq(listed, 0);
    news.lent = true;
    for (int i = 0; i < 10; i++) {
        clock_manual_advance_us(&manual, IDLE_EVERY_MS * INT64_C(1000));
        cr_assert_eq(duty_idle.turn(own, &tools), DUTY_DONE);
    }
    cr_assert_eq(listed, 10 * IDLE_EVERY_MS / IDLE_ROUND_MS);
    duty_idle.destroy(own);
}
