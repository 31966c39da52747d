/* What one reader is shown, in which order, and when it is ended. */
#include "notice/subscriber.h"

#include "quota/threshold.h"
#include "tests/notice/reader.h"

#include <criterion/criterion.h>

enum { QUEUE_MAX = 4, PROGRESS_MS = 15000 };

static struct reader *reader;
static struct hub_subscriber *subscriber;

static void begin_filtered(const struct hub_filter *filter)
{
    struct plan plan = {.tenant_id = 1, .tenant = SLICE("acme")};

    reader = reader_create();
    subscriber = subscriber_create(plan_create(&plan), filter, &reader_sink, reader);
    subscriber->position = subscriber->last_seq = 0;
    subscriber->started = true;
}

static void begin(void)
{
    begin_filtered(&(struct hub_filter){0});
}

static void finish(void)
{
    subscriber_destroy(subscriber);
    reader_destroy(reader);
}

static void offer_quota(int64_t seq, const char *scope, const char *meter, enum event_kind kind)
{
    struct ledger_event event = {
        .tenant_id = 1,
        .seq = seq,
        .kind = kind,
        .has_quota = true,
        .scope = slice_from_cstr(scope),
        .meter = slice_from_cstr(meter),
    };

    subscriber_offer(subscriber, &event, QUEUE_MAX, seq);
}

static void offer_job(int64_t seq)
{
    struct ledger_event event = {
        .tenant_id = 1, .seq = seq, .kind = EVENT_HOLD_EXPIRED, .job_id = SLICE("job")};

    subscriber_offer(subscriber, &event, QUEUE_MAX, seq);
}

static void offer(int64_t seq)
{
    offer_quota(seq, "", "tokens", EVENT_SOFT_STOP);
}

Test(subscriber, without_a_filter_everything_is_sent_in_a_chain)
{
    begin();
    offer(1);
    offer_job(2);
    offer_quota(3, "team/user", "requests", EVENT_LIMIT_CHANGED);
    cr_assert(reader->frames_count == 3);
    reader_check_chain(reader, 0);
    cr_assert(subscriber->position == 3 && subscriber->last_seq == 3);
    finish();
}

Test(subscriber, what_it_has_seen_is_not_sent_again)
{
    begin();
    offer(1);
    offer(2);
    offer(1);
    offer(2);
    cr_assert(reader->frames_count == 2);
    finish();
}

Test(subscriber, a_scope_covers_itself_and_what_is_below_but_no_namesake)
{
    struct slice scope = SLICE("team-a");

    begin_filtered(&(struct hub_filter){.scopes = &scope, .scopes_count = 1});
    offer_quota(1, "team-a", "tokens", EVENT_SOFT_STOP);
    offer_quota(2, "team-a/user", "tokens", EVENT_SOFT_STOP);
    offer_quota(3, "team-ab", "tokens", EVENT_SOFT_STOP);
    offer_quota(4, "", "tokens", EVENT_SOFT_STOP);
    offer_quota(5, "team-b/team-a", "tokens", EVENT_SOFT_STOP);
    cr_assert(reader->frames_count == 2);
    cr_assert(subscriber->position == 5 && subscriber->last_seq == 2);
    finish();
}

Test(subscriber, meters_and_kinds_narrow_further)
{
    struct slice meters[] = {SLICE("tokens"), SLICE("requests")};
    int kinds[] = {EVENT_HARD_STOP, EVENT_HARD_CAP};

    begin_filtered(&(struct hub_filter){
        .meters = meters, .meters_count = 2, .kinds = kinds, .kinds_count = 2});
    offer_quota(1, "", "tokens", EVENT_HARD_STOP);
    offer_quota(2, "", "token", EVENT_HARD_STOP);
    offer_quota(3, "", "tokens", EVENT_SOFT_STOP);
    offer_quota(4, "x", "requests", EVENT_HARD_CAP);
    cr_assert(reader->frames_count == 2);
    cr_assert(reader->frames[1].seq == 4 && reader->frames[1].prev_seq == 1);
    finish();
}

Test(subscriber, an_event_of_a_job_is_hidden_by_a_scope_or_a_meter_but_not_by_its_kind)
{
    struct slice meter = SLICE("tokens");
    int kind = EVENT_HOLD_EXPIRED;

    begin_filtered(&(struct hub_filter){.meters = &meter, .meters_count = 1});
    offer_job(1);
    cr_assert(reader->frames_count == 0);
    finish();
    begin_filtered(&(struct hub_filter){.kinds = &kind, .kinds_count = 1});
    offer_job(1);
    cr_assert(reader->frames_count == 1);
    finish();
}

static void fill(void)
{
    subscriber->live = subscriber->reading = true;
    reader->reads = false;
    for (int64_t seq = 1; seq <= QUEUE_MAX + 1; seq++)
        offer(seq);
    cr_assert(reader->frames_count == QUEUE_MAX && reader->ends == 0);
    cr_assert(subscriber->behind && !subscriber->live && !subscriber->reading);
    cr_assert(subscriber->position == QUEUE_MAX);
}

/* A burst: it goes on from where it stands, for as long as it takes what there is. */
Test(subscriber, a_full_queue_does_not_end_it_while_it_takes_something)
{
    int64_t us = 0;

    begin();
    fill();
    for (int i = 0; i < QUEUE_MAX; i++) {
        us += 250000;
        reader_take(reader, 1);
        subscriber_progress(subscriber, PROGRESS_MS, 1, us);
        cr_assert(reader->ends == 0);
    }
    subscriber_progress(subscriber, PROGRESS_MS, 1, us += 10000000);
    cr_assert(reader->ends == 0, "there is nothing to take");
    finish();
}

Test(subscriber, who_takes_nothing_of_what_was_before_is_ended_after_a_minute)
{
    begin();
    reader->reads = false;
    offer(1);
    subscriber_progress(subscriber, PROGRESS_MS, 1, 60000000);
    cr_assert(reader->ends == 0);
    subscriber_progress(subscriber, PROGRESS_MS, 1, 60000002);
    cr_assert(reader->ends == 1 && reader->end == HUB_END_SLOW && reader->end_seq == 1);
    finish();
}

Test(subscriber, a_queue_that_was_full_before_ends_it_at_once)
{
    struct ledger_event event = {.tenant_id = 1, .seq = 5, .kind = EVENT_HOLD_EXPIRED};

    begin();
    subscriber->live = subscriber->reading = true;
    reader->reads = false;
    for (int64_t seq = 1; seq <= QUEUE_MAX; seq++)
        offer(seq);
    subscriber_offer(subscriber, &event, QUEUE_MAX, 300000);
    cr_assert(reader->ends == 1 && reader->end == HUB_END_SLOW);
    finish();
}

Test(subscriber, a_full_queue_of_which_nothing_is_taken_ends_it_with_the_position_of_what_it_was_sent)
{
    begin();
    fill();
    subscriber_progress(subscriber, PROGRESS_MS, 1, 250000);
    cr_assert(reader->ends == 0);
    subscriber_progress(subscriber, PROGRESS_MS, 1, 250002);
    cr_assert(reader->ends == 1 && reader->end == HUB_END_SLOW);
    cr_assert(reader->end_seq == QUEUE_MAX && reader->end_prev_seq == QUEUE_MAX);
    finish();
}

Test(subscriber, events_that_the_filter_hides_do_not_fill_a_queue)
{
    int kind = EVENT_HARD_CAP;

    begin_filtered(&(struct hub_filter){.kinds = &kind, .kinds_count = 1});
    reader->waiting = QUEUE_MAX;
    offer(1);
    cr_assert(reader->ends == 0 && subscriber->position == 1);
    finish();
}

Test(subscriber, a_gap_left_by_retention_ends_it)
{
    begin();
    offer(1);
    offer(9);
    cr_assert(reader->ends == 1 && reader->end == HUB_END_TOO_OLD);
    cr_assert(reader->bound_seq == 9 && reader->end_seq == 1);
    cr_assert(reader->frames_count == 1);
    finish();
}

Test(subscriber, a_vanished_client_ends_it)
{
    begin();
    reader->gone = true;
    offer(1);
    offer(2);
    cr_assert(reader->ends == 1 && reader->end == HUB_END_FAILED);
    finish();
}

Test(subscriber, progress_comes_after_a_quiet_time_and_sooner_if_events_were_hidden)
{
    int kind = EVENT_HARD_CAP;
    int64_t us = 0;

    begin_filtered(&(struct hub_filter){.kinds = &kind, .kinds_count = 1});
    subscriber_progress(subscriber, PROGRESS_MS, 1, us += PROGRESS_MS * 1000 - 1);
    cr_assert(reader->frames_count == 0);
    subscriber_progress(subscriber, PROGRESS_MS, 1, us += 1);
    cr_assert(reader->frames_count == 1 && reader->frames[0].seq == 0);
    offer(1);
    subscriber_progress(subscriber, PROGRESS_MS, 1, us + 999999);
    cr_assert(reader->frames_count == 1);
    subscriber_progress(subscriber, PROGRESS_MS, 1, us + 1000000);
    cr_assert(reader->frames_count == 2);
    cr_assert(reader->frames[1].kind == READER_PROGRESS && reader->frames[1].seq == 1);
    reader_check_chain(reader, 0);
    finish();
}

Test(subscriber, who_has_frames_to_read_gets_no_progress)
{
    begin();
    reader->waiting = 1;
    subscriber_progress(subscriber, PROGRESS_MS, 1, PROGRESS_MS * INT64_C(2000));
    cr_assert(reader->frames_count == 0);
    finish();
}
