#include "quota/adjust.h"

#include "base/amount.h"
#include "quota/lease.h"

#include <criterion/criterion.h>

enum { NOW = 1000000, HOUR = 3600000 };

static struct arena arena;
static struct quota_row quotas[4]; /* limit 2 in an old period and now, limit 3 without periods, limit 4 */
static struct book book;
static struct settle_counted counted[2];
static struct settle_entry entries[2]; /* 30 tokens, 5 calls */
static struct settle_record record;
static struct adjust_change change[2];
static struct adjust_binding bindings[3];
static struct adjust_item item;
static struct adjust_row past[1];
static struct settle_counted past_counted[ADJUST_QUOTAS_MAX];

static struct quota_row row(int64_t limit_id, int64_t start_ms)
{
    return (struct quota_row){.tenant_id = 1,
                              .ref = {limit_id, start_ms},
                              .period_end_ms = start_ms + HOUR,
                              .stops = {.soft = 90, .amount = 100, .cap = 100},
                              .ledger_seq = 7,
                              .state = QUOTA_OPEN};
}

static void set_up(void)
{
    arena_init(&arena, 4096, 1 << 20);
    quotas[0] = row(2, 0);
    quotas[1] = row(2, HOUR);
    quotas[2] = row(3, 0);
    quotas[3] = row(4, 0);
    quotas[0].committed = quotas[2].committed = 30;
    quotas[3].committed = 5;
    book = (struct book){.arena = &arena, .now_ms = NOW, .quotas = quotas, .quotas_count = 4};
    counted[0] = (struct settle_counted){.ref = {2, 0}, .ledger_seq = 1, .amount = 30};
    counted[1] = (struct settle_counted){.ref = {3, 0}, .ledger_seq = 1, .amount = 30};
    entries[0] = (struct settle_entry){
        .meter = SLICE("tokens"), .amount = 30, .counted_count = 2, .counted = counted};
    record = (struct settle_record){.entries_count = 1, .entries = entries};
    bindings[0] = (struct adjust_binding){SLICE("tokens"), {2, HOUR}};
    bindings[1] = (struct adjust_binding){SLICE("tokens"), {3, 0}};
    change[0] = (struct adjust_change){.meter = SLICE("tokens")};
    item = (struct adjust_item){.tenant_id = 1,
                                .adjust_id = SLICE("r"),
                                .job_id = SLICE("job"),
                                .changes = change,
                                .changes_count = 1,
                                .record = &record,
                                .past = past,
                                .bindings = bindings,
                                .bindings_count = 2};
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(adjust, .init = set_up, .fini = tear_down);

/* Of the first meter, as the ledger adds it up. */
static void remember(const struct adjust_row *made)
{
    item.past_count = 1;
    item.past_number = made->number;
    past[0].meter = made->meter;
    past[0].counted = past_counted;
    past[0].delta += made->delta;
    for (size_t i = 0; i < made->counted_count; i++) {
        size_t at = 0;

        while (at < past[0].counted_count &&
               !quota_ref_equal(past_counted[at].ref, made->counted[i].ref))
            at++;
        if (at == past[0].counted_count)
            past_counted[past[0].counted_count++] =
                (struct settle_counted){.ref = made->counted[i].ref};
        past_counted[at].amount += made->counted[i].amount;
        past_counted[at].debt += made->counted[i].debt;
    }
}

/* Decides; what is made becomes a part of the past. */
static enum adjust_outcome by(int64_t delta)
{
    change[0].delta = delta;
    adjust_decide(&book, &item);
    if (item.outcome == ADJUST_MADE)
        remember(&item.rows[0]);
    return item.outcome;
}

static bool is(size_t i, int64_t committed, int64_t debt)
{
    return quotas[i].committed == committed && quotas[i].debt == debt;
}

Test(adjust, takes_from_each_quota_where_the_job_was_counted)
{
    cr_assert_eq(by(-10), ADJUST_MADE);
    cr_assert(is(0, 20, 0) && is(1, 0, 0) && is(2, 20, 0) && is(3, 5, 0));
    cr_assert_eq(item.rows[0].left, 20);
    cr_assert_eq(item.rows[0].number, 1);
    cr_assert_eq(item.rows[0].counted_count, 2);
    cr_assert_eq(item.rows[0].counted[0].ledger_seq, 8);
    cr_assert_eq(item.rows[0].counted[0].amount, -10);
    cr_assert_eq(item.rows[0].at_ms, NOW);
    cr_assert(quotas[0].dirty && quotas[2].dirty && !quotas[1].dirty);
}

Test(adjust, takes_debt_first_whoever_made_it)
{
    quotas[2].debt = 6;
    cr_assert_eq(by(-10), ADJUST_MADE);
    cr_assert(is(0, 20, 0) && is(2, 26, 0));
    cr_assert_eq(item.rows[0].counted[1].amount, -4);
    cr_assert_eq(item.rows[0].counted[1].debt, -6);
}

Test(adjust, leaves_a_job_no_less_than_nothing)
{
    cr_assert_eq(by(-31), ADJUST_BELOW_ZERO);
    cr_assert_eq(item.left[0], 30);
    cr_assert(is(0, 30, 0) && is(2, 30, 0) && !book.events);
    cr_assert_eq(by(-30), ADJUST_MADE);
    cr_assert_eq(by(-1), ADJUST_BELOW_ZERO);
    cr_assert_eq(item.left[0], 0);
}

Test(adjust, tells_a_closed_period_and_leaves_it_as_it_is)
{
    quotas[0].state = QUOTA_CLOSED;
    cr_assert_eq(by(-10), ADJUST_MADE);
    cr_assert(is(0, 30, 0) && is(2, 20, 0) && !quotas[0].dirty);
    cr_assert_eq(item.rows[0].closed_count, 1);
    cr_assert_eq(item.rows[0].closed[0].limit_id, 2);
    cr_assert_eq(by(-21), ADJUST_BELOW_ZERO, "what is left is of the job, wherever it was taken");
}

Test(adjust, books_what_is_added_to_a_closed_period_in_the_current_one_and_takes_it_there_first)
{
    quotas[0].state = QUOTA_CLOSED;
    cr_assert_eq(by(8), ADJUST_MADE);
    cr_assert(is(0, 30, 0) && is(1, 8, 0) && is(2, 38, 0));
    cr_assert_eq(by(-10), ADJUST_MADE);
    cr_assert(is(0, 30, 0) && is(1, 0, 0) && is(2, 28, 0));
    cr_assert_eq(item.rows[0].closed_count, 1);
    cr_assert_eq(item.rows[0].left, 28);
}

Test(adjust, books_what_is_added_where_the_job_counts_while_that_is_open)
{
    cr_assert_eq(by(8), ADJUST_MADE);
    cr_assert(is(0, 38, 0) && is(1, 0, 0) && is(2, 38, 0));
}

Test(adjust, books_what_is_added_in_a_limit_that_is_new_and_takes_no_more_than_that_from_it)
{
    bindings[item.bindings_count++] = (struct adjust_binding){SLICE("tokens"), {4, 0}};
    cr_assert_eq(by(4), ADJUST_MADE);
    cr_assert(is(3, 9, 0));
    cr_assert_eq(by(-20), ADJUST_MADE);
    cr_assert(is(0, 14, 0) && is(3, 5, 0));
}

Test(adjust, makes_debt_of_what_does_not_fit_once_nothing_is_lent)
{
    quotas[2].committed = 95;
    quotas[2].lease_id = LEASE_IDS_PER_EPOCH;
    quotas[2].leased = quotas[2].granted = 3;
    cr_assert_eq(by(8), ADJUST_WANTS_RECALL);
    cr_assert(is(0, 30, 0) && is(2, 95, 0) && !book.events);
    item.recall_done = true;
    cr_assert_eq(by(8), ADJUST_MADE);
    cr_assert(is(0, 38, 0) && is(2, 97, 6));
    cr_assert_eq(item.rows[0].counted[1].debt, 6);
}

Test(adjust, refuses_a_sum_that_nobody_can_count)
{
    cr_assert_eq(by(AMOUNT_MAX - 29), ADJUST_TOO_LARGE);
    quotas[0].stops = quotas[2].stops = (struct stops){.cap = AMOUNT_MAX, .unlimited = true};
    quotas[2].committed = AMOUNT_MAX - 5;
    cr_assert_eq(by(6), ADJUST_TOO_LARGE);
    cr_assert_eq(by(5), ADJUST_MADE);
}

Test(adjust, wants_a_record_a_meter_of_it_and_a_limit)
{
    item.bindings_count = 0;
    cr_assert_eq(by(1), ADJUST_NO_LIMIT);
    cr_assert_eq(by(-1), ADJUST_MADE);
    change[0].meter = SLICE("calls");
    cr_assert_eq(by(-1), ADJUST_BAD_METER);
    item.record = NULL;
    cr_assert_eq(by(-1), ADJUST_NOT_FINAL);
}

Test(adjust, changes_all_its_meters_or_none)
{
    static struct settle_counted calls = {.ref = {4, 0}, .ledger_seq = 1, .amount = 5};

    entries[1] = (struct settle_entry){
        .meter = SLICE("calls"), .amount = 5, .counted_count = 1, .counted = &calls};
    record.entries_count = item.changes_count = 2;
    change[1] = (struct adjust_change){SLICE("calls"), -6};
    cr_assert_eq(by(-10), ADJUST_BELOW_ZERO);
    cr_assert_eq(item.bad, 1);
    cr_assert(is(0, 30, 0) && is(3, 5, 0));
    change[1].delta = -5;
    cr_assert_eq(by(-10), ADJUST_MADE);
    cr_assert(is(0, 20, 0) && is(3, 0, 0));
    cr_assert_eq(item.rows[1].number, 2);
}

Test(adjust, answers_a_repeat_as_the_first_time)
{
    static struct adjust_row same;

    cr_assert_eq(by(-10), ADJUST_MADE);
    same = item.rows[0];
    cr_assert_eq(by(-5), ADJUST_MADE);
    item.same = &same;
    item.same_count = 1;
    item.same_job_id = SLICE("job");
    cr_assert_eq(by(-10), ADJUST_REPLAYED);
    cr_assert_eq(item.rows[0].left, 20);
    cr_assert(is(0, 15, 0));
    cr_assert_eq(by(-11), ADJUST_MISMATCH);
    cr_assert(item.differs_changes && !item.differs_job);
    item.same_job_id = SLICE("another");
    cr_assert_eq(by(-10), ADJUST_MISMATCH);
    cr_assert(!item.differs_changes && item.differs_job);
}

Test(adjust, tells_each_quota_and_its_crossings)
{
    quotas[2].committed = 100;
    quotas[2].level = LEVEL_BITS;
    cr_assert_eq(by(-20), ADJUST_MADE);
    cr_assert_eq(book.events->kind, EVENT_ADJUSTED);
    cr_assert_eq(book.events->quota, &quotas[0]);
    cr_assert_eq(book.events->next->kind, EVENT_ADJUSTED);
    cr_assert_eq(book.events->next->committed, 80);
    cr_assert_eq(book.events->next->next->kind, EVENT_HARD_CAP);
    cr_assert_eq(book.events->next->next->direction, 2);
    cr_assert_eq(quotas[2].level, 0);
}

Test(adjust, decides_nothing_on_rows_that_have_less_than_the_job)
{
    quotas[2].committed = 9;
    cr_assert_eq(by(-10), ADJUST_INCONSISTENT);
    cr_assert(is(0, 30, 0) && is(2, 9, 0));
}

Test(adjust, touches_so_many_quotas_and_no_more)
{
    past[0] = (struct adjust_row){.meter = SLICE("tokens"), .counted = past_counted};
    past[0].counted_count = ADJUST_QUOTAS_MAX - 4; /* two are the entry's, two bind */
    for (size_t i = 0; i < ADJUST_QUOTAS_MAX; i++)
        past_counted[i].ref = (struct quota_ref){9, (int64_t)i * HOUR};
    item.past_count = 1;
    past[0].counted_count++;
    cr_assert_eq(by(-1), ADJUST_TOO_MANY);
    past[0].counted_count--;
    cr_assert_eq(by(-1), ADJUST_MADE);
}
