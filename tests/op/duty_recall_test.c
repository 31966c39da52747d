/* Recall flags that nobody served: one tenant's, however many or stuck, are not in the way of others'. */
#include "op/duty.h"

#include "op/aside.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>

/* Tenant 1 has half of the flags, and its rows are locked; each of the others has one. */
enum { OF_FIRST = 100, OTHERS = 100, ROWS = OF_FIRST + OTHERS, IDLE = 7 };

static struct pretend *pretend;
static struct log_limit log_limit;
static size_t transactions, recorded;
static bool recorded_of[OTHERS + 2];
static bool locked;

static enum status list(struct database *db, struct arena *arena, size_t max,
                        struct quota_row **ret, size_t *ret_count)
{
    (void)db;
    cr_assert(max >= ROWS);
    *ret_count = ROWS;
    *ret = arena_array(arena, ROWS, sizeof(**ret));
    for (int i = 0; i < ROWS; i++)
        (*ret)[i] = (struct quota_row){
            .tenant_id = i % 2 ? 1 : 2 + i / 2,
            .ref = {.limit_id = 1 + i},
            .shard = i % 2 ? 1 : i,
            .lease_id = 5,
            .granted = 10,
            .recall = true,
        };
    return STATUS_OK;
}

static enum status record(struct database *db, struct arena *arena, struct ledger_return *returns,
                          size_t count)
{
    bool stuck = false;

    (void)db;
    (void)arena;
    transactions++;
    for (size_t i = 0; i < count; i++) {
        returns[i].locked = locked && returns[i].tenant_id == 1;
        stuck |= returns[i].locked;
    }
    for (size_t i = 0; i < count && !stuck; i++) {
        cr_assert(returns[i].returned == IDLE && returns[i].lease_id == 5);
        recorded++;
        recorded_of[returns[i].tenant_id] = true;
    }
    return stuck ? STATUS_CONFLICT : STATUS_OK;
}

static void give_idle(struct counter_call *call)
{
    struct counter_recall *recall = container_of(call, struct counter_recall, call);

    cr_assert_eq(call->kind, COUNTER_RECALL);
    for (size_t i = 0; i < recall->totals_count; i++) {
        recall->totals[i].took = TOTALS_TAKEN;
        recall->totals[i].now.returned = IDLE;
    }
}

static void begin(void)
{
    pretend = pretend_begin();
    pretend->table.recalls = list;
    pretend->table.return_run = record;
    pretend->redis = give_idle;
}

static void end(void)
{
    pretend_end(pretend);
}

TestSuite(duty_recall, .init = begin, .fini = end, .timeout = 30);

static enum duty_end serve(void)
{
    struct duty_tools tools = {.stores = pretend->stores, .log = &log_limit};

    return recall_flagged(&tools);
}

Test(duty_recall, a_tenant_with_locked_rows_costs_the_others_one_transaction)
{
    locked = true;
    cr_assert_eq(serve(), DUTY_DONE);
    cr_assert_eq(pretend->round_trips, 1);
    cr_assert_eq(transactions, 2, "%zu, each of which may wait for a lock", transactions);
    cr_assert_eq(recorded, OTHERS);
    for (int i = 2; i < OTHERS + 2; i++)
        cr_assert(recorded_of[i], "tenant %d has its flag still", i);
    cr_assert_not(recorded_of[1]);
    cr_assert(aside_has(pretend->services.aside, 1, stores_mono_us(pretend->stores)));
}

Test(duty_recall, all_flags_are_served_in_one_go)
{
    cr_assert_eq(serve(), DUTY_DONE);
    cr_assert_eq(pretend->round_trips, 1);
    cr_assert_eq(transactions, 1);
    cr_assert_eq(recorded, ROWS);
}
