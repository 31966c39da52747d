/* The hub on a real Postgres: events are rows that the test writes, streams are readers. */
#include "notice/hub.h"

#include "ledger/ledger.h"
#include "tests/ledger/support.h"
#include "tests/notice/reader.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum { QUEUE_MAX = 64, WAIT_MS = 10000 };

static struct hub *hub;
static struct estimate estimate;
static const struct hub_filter everything;

static void begin(void)
{
    struct hub_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
        .clock = clock_real(),
        .estimate = &estimate,
        .poll_ms = 10,
        .progress_ms = 15000,
        .queue_max = QUEUE_MAX,
    };

    database_destroy(support_open());
    estimate_init(&estimate);
    hub = hub_create(&options);
}

static void finish(void)
{
    hub_destroy(hub);
    estimate_done(&estimate);
}

TestSuite(hub, .init = begin, .fini = finish);

/* Numbers and rows in one transaction, as the ledger writes them. Nobody is told. */
static void write_quietly(const struct support_tenant *tenant, int count)
{
    fixture_sql_do("WITH t AS (UPDATE tenant SET event_seq = event_seq + %d WHERE tenant_id = %" PRId64
                   " RETURNING event_seq) INSERT INTO event (tenant_id, seq, kind, direction, basis,"
                   " limit_id, period_start_ms, period_end_ms, limit_amount, soft_amount, cap_amount,"
                   " unlimited, committed, debt, ledger_seq, level, at) SELECT %" PRId64
                   ", t.event_seq - %d + n, 1, 1, 1, %" PRId64 ", 0, 9223372036854775807, 1000, 900,"
                   " 1000, false, t.event_seq - %d + n, 0, 1, 2, clock_timestamp() FROM t,"
                   " generate_series(1, %d) n",
                   count, tenant->tenant_id, tenant->tenant_id, count, tenant->limit_id, count,
                   count);
}

static void write_events(const struct support_tenant *tenant, int count)
{
    write_quietly(tenant, count);
    hub_hint(hub, &tenant->tenant_id, 1);
}

static struct hub_subscriber *subscribe(const struct support_tenant *tenant, struct reader *reader,
                                        int64_t after_seq)
{
    struct plan *plan = support_plan(tenant);
    struct hub_subscriber *subscriber =
        hub_subscribe(hub, plan, after_seq, &everything, &reader_sink, reader);

    plan_unref(plan);
    return subscriber;
}

struct wanted {
    struct reader *reader;
    size_t frames;
    int64_t seq;
};

static bool has_frames(void *user)
{
    struct wanted *wanted = user;

    return reader_count(wanted->reader) >= wanted->frames;
}

static bool has_seq(void *user)
{
    struct wanted *wanted = user;

    return reader_last_seq(wanted->reader) >= wanted->seq;
}

static bool has_ended(void *user)
{
    return reader_ended(user);
}

static void wait_frames(struct reader *reader, size_t frames)
{
    struct wanted wanted = {.reader = reader, .frames = frames};

    cr_assert(fixture_until(WAIT_MS, has_frames, &wanted), "%zu frames of %zu",
              reader_count(reader), frames);
}

static void wait_seq(struct reader *reader, int64_t seq)
{
    struct wanted wanted = {.reader = reader, .seq = seq};

    cr_assert(fixture_until(WAIT_MS, has_seq, &wanted), "seq %" PRId64 " of %" PRId64,
              reader_last_seq(reader), seq);
}

/* The client leaves, and its reader with it. */
static void leave(struct hub_subscriber *subscriber, struct reader *reader)
{
    hub_unsubscribe(hub, subscriber);
    cr_assert(fixture_until(WAIT_MS, has_ended, reader));
    reader_destroy(reader);
}

Test(hub, from_a_position_nothing_is_missed_or_repeated)
{
    struct support_tenant tenant = support_tenant_make("hub-resume", 1000, 1000, 0);
    struct reader *first = reader_create(), *later = reader_create();
    struct hub_subscriber *one = subscribe(&tenant, first, 0), *other;

    write_events(&tenant, 5);
    wait_frames(first, 5);
    reader_check_chain(first, 0);
    other = subscribe(&tenant, later, 3);
    wait_frames(later, 2);
    cr_assert(later->frames[0].seq == 4 && later->frames[1].seq == 5);
    reader_check_chain(later, 3);
    leave(one, first);
    leave(other, later);
}

Test(hub, a_position_above_the_newest_event_is_refused_and_the_newest_itself_is_not)
{
    struct support_tenant tenant = support_tenant_make("hub-newer", 1000, 1000, 0);
    struct reader *new = reader_create(), *fine = reader_create();
    struct hub_subscriber *subscriber;

    write_events(&tenant, 3);
    subscribe(&tenant, new, 4);
    cr_assert(fixture_until(WAIT_MS, has_ended, new));
    cr_assert(new->end == HUB_END_TOO_NEW && new->bound_seq == 3 && new->frames_count == 0);
    reader_destroy(new);
    subscriber = subscribe(&tenant, fine, 3);
    write_events(&tenant, 1);
    wait_frames(fine, 1);
    cr_assert(fine->frames[0].seq == 4 && fine->frames[0].prev_seq == 3);
    leave(subscriber, fine);
}

Test(hub, a_stream_ends_when_the_database_goes_back_behind_it)
{
    struct support_tenant tenant = support_tenant_make("hub-went-back", 1000, 1000, 0);
    struct reader *reader = reader_create();

    write_events(&tenant, 5);
    subscribe(&tenant, reader, 0);
    wait_frames(reader, 5);
    fixture_sql_do("DELETE FROM event WHERE tenant_id = %" PRId64 " AND seq > 2", tenant.tenant_id);
    fixture_sql_do("UPDATE tenant SET event_seq = 2 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert(fixture_until(WAIT_MS, has_ended, reader));
    cr_assert(reader->end == HUB_END_TOO_NEW && reader->bound_seq == 2);
    reader_destroy(reader);
}

/* Everybody is read so seldom that what comes here comes by a hint. */
static void begin_hints(void)
{
    if (!hub) /* the suite's own comes first */
        begin();
    hub_destroy(hub);
    hub = hub_create(&(struct hub_options){.conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
                                           .clock = clock_real(),
                                           .estimate = &estimate,
                                           .poll_ms = 600000,
                                           .progress_ms = 15000,
                                           .queue_max = QUEUE_MAX});
}

Test(hub, a_hint_costs_what_its_tenant_has_and_not_what_all_that_are_watched_have,
     .init = begin_hints)
{
    struct support_tenant busy = support_tenant_make("hub-hinted", 1000, 1000, 0);
    struct support_tenant other = support_tenant_make("hub-unhinted", 1000, 1000, 0);
    struct reader *hinted = reader_create(), *unhinted = reader_create();
    struct hub_subscriber *one = subscribe(&busy, hinted, 0), *two = subscribe(&other, unhinted, 0);

    write_events(&busy, 1);
    write_events(&other, 1);
    wait_frames(hinted, 1);
    wait_frames(unhinted, 1);
    write_quietly(&other, 1);
    for (int i = 0; i < 5; i++) {
        write_events(&busy, 1);
        wait_frames(hinted, 2 + (size_t)i);
    }
    cr_assert_eq(reader_count(unhinted), 1, "everybody was read for one tenant's events");
    hub_hint(hub, &other.tenant_id, 1);
    wait_frames(unhinted, 2);
    reader_check_chain(hinted, 0);
    reader_check_chain(unhinted, 0);
    leave(one, hinted);
    leave(two, unhinted);
}

Test(hub, more_hints_than_are_kept_are_about_everybody, .init = begin_hints)
{
    struct support_tenant tenant = support_tenant_make("hub-many-hints", 1000, 1000, 0);
    struct reader *reader = reader_create();
    struct hub_subscriber *subscriber = subscribe(&tenant, reader, 0);
    int64_t tenants[200];

    write_events(&tenant, 1);
    wait_frames(reader, 1);
    write_quietly(&tenant, 1);
    for (int i = 0; i < 200; i++)
        tenants[i] = i < 199 ? (INT64_C(1) << 40) + i : tenant.tenant_id;
    hub_hint(hub, tenants, 200);
    wait_frames(reader, 2);
    leave(subscriber, reader);
}

/* The lowest tenant_id has a long history; the others come after it in every order there is. */
Test(hub, a_long_history_of_one_tenant_delays_another_ones_history_by_a_page)
{
    enum { LONG = 30000, SHORT = 40 }; /* a second or two */
    struct support_tenant first = support_tenant_make("hub-long", 1000, 1000, 0);
    struct support_tenant second = support_tenant_make("hub-short", 1000, 1000, 0);
    struct reader *far = reader_create(), *near = reader_create();
    struct hub_subscriber *one, *other;

    write_events(&first, LONG);
    write_events(&second, SHORT);
    one = subscribe(&first, far, 0);
    wait_frames(far, 1);
    other = subscribe(&second, near, 0);
    wait_frames(near, SHORT);
    cr_assert(reader_last_seq(far) < LONG, "the short history waited for the long one");
    wait_seq(far, LONG);
    reader_check_chain(far, 0);
    reader_check_chain(near, 0);
    leave(one, far);
    leave(other, near);
}

Test(hub, a_position_before_the_oldest_event_is_too_old)
{
    struct support_tenant tenant = support_tenant_make("hub-old", 1000, 1000, 0);
    struct reader *old = reader_create(), *fine = reader_create();
    struct hub_subscriber *subscriber;

    write_events(&tenant, 10);
    fixture_sql_do("DELETE FROM event WHERE tenant_id = %" PRId64 " AND seq <= 6",
                   tenant.tenant_id);
    subscribe(&tenant, old, 5);
    cr_assert(fixture_until(WAIT_MS, has_ended, old));
    cr_assert(old->end == HUB_END_TOO_OLD && old->bound_seq == 7 && old->frames_count == 0);
    reader_destroy(old);
    subscriber = subscribe(&tenant, fine, 6);
    wait_frames(fine, 4);
    leave(subscriber, fine);
}

Test(hub, two_thousand_events_of_history_do_not_end_a_stream_that_reads_slowly)
{
    struct support_tenant tenant = support_tenant_make("hub-history", 1000, 1000, 0);
    struct reader *reader = reader_create();
    struct hub_subscriber *subscriber;
    int64_t until_us = fixture_now_us() + 20 * INT64_C(1000000);

    write_events(&tenant, 2000);
    reader_set_reads(reader, false);
    subscriber = subscribe(&tenant, reader, 0);
    while (reader_last_seq(reader) < 2000) {
        cr_assert(fixture_now_us() < until_us, "at %" PRId64, reader_last_seq(reader));
        cr_assert(!reader_ended(reader), "ended by %d", (int)reader->end);
        if (reader_waiting(reader) >= QUEUE_MAX / 2)
            reader_take(reader, 8);
        else
            sched_yield();
    }
    reader_check_chain(reader, 0);
    cr_assert(reader->frames_count == 2000);
    cr_assert(reader->waiting_most <= QUEUE_MAX);
    leave(subscriber, reader);
}

Test(hub, a_live_stream_whose_queue_is_full_is_ended_and_the_others_are_not)
{
    struct support_tenant tenant = support_tenant_make("hub-slow", 1000, 1000, 0);
    struct reader *slow = reader_create(), *fast = reader_create(), *again = reader_create();
    struct hub_subscriber *subscriber = subscribe(&tenant, fast, 0);

    subscribe(&tenant, slow, 0);
    write_events(&tenant, 1);
    wait_frames(slow, 1);
    wait_frames(fast, 1);
    reader_set_reads(slow, false);
    write_events(&tenant, 3 * QUEUE_MAX);
    cr_assert(fixture_until(WAIT_MS, has_ended, slow));
    cr_assert(slow->end == HUB_END_SLOW && slow->waiting == QUEUE_MAX);
    cr_assert(slow->end_seq == slow->frames[slow->frames_count - 1].seq);
    wait_seq(fast, 3 * QUEUE_MAX + 1);
    reader_check_chain(fast, 0);
    leave(subscriber, fast);
    subscriber = subscribe(&tenant, again, slow->end_seq);
    wait_seq(again, 3 * QUEUE_MAX + 1);
    reader_check_chain(again, slow->end_seq);
    cr_assert(slow->frames_count + again->frames_count == 3 * QUEUE_MAX + 1);
    leave(subscriber, again);
    reader_destroy(slow);
}

/* Many times what the queue holds, at once: whoever reads gets all of it in one stream. */
Test(hub, a_burst_does_not_end_a_live_stream_that_reads)
{
    struct support_tenant tenant = support_tenant_make("hub-burst", 1000, 1000, 0);
    struct reader *reader = reader_create();
    struct hub_subscriber *subscriber = subscribe(&tenant, reader, 0);
    int64_t until_us = fixture_now_us() + 20 * INT64_C(1000000);
    const int64_t count = 20 * QUEUE_MAX;

    write_events(&tenant, 1);
    wait_frames(reader, 1);
    reader_set_reads(reader, false);
    write_events(&tenant, (int)count);
    while (reader_last_seq(reader) < count + 1) {
        cr_assert(fixture_now_us() < until_us, "at %" PRId64, reader_last_seq(reader));
        cr_assert(!reader_ended(reader), "ended by %d", (int)reader->end);
        reader_take(reader, 4);
        sched_yield();
    }
    reader_check_chain(reader, 0);
    cr_assert(reader->frames_count == (size_t)count + 1);
    cr_assert(reader->waiting_most <= QUEUE_MAX);
    leave(subscriber, reader);
}

/* One that is held back must not be offered what was read for those that are ahead of it. */
Test(hub, a_reader_held_back_in_its_history_goes_on_where_it_stopped_while_others_are_live)
{
    struct support_tenant tenant = support_tenant_make("hub-back", 1000, 1000, 0);
    struct reader *behind = reader_create(), *live = reader_create();
    struct hub_subscriber *one, *other;
    int64_t newest = 500, taken_us = 0, until_us = fixture_now_us() + 20 * INT64_C(1000000);

    write_events(&tenant, 500);
    reader_set_reads(behind, false);
    one = subscribe(&tenant, behind, 0);
    other = subscribe(&tenant, live, 500);
    while (reader_last_seq(behind) < newest || newest < 560) {
        cr_assert(fixture_now_us() < until_us, "at %" PRId64, reader_last_seq(behind));
        if (newest < 560) {
            write_events(&tenant, 1);
            newest++;
        }
        if (fixture_now_us() - taken_us > 1000) {
            reader_take(behind, 7);
            taken_us = fixture_now_us();
        }
    }
    wait_seq(live, newest);
    reader_check_chain(behind, 0);
    reader_check_chain(live, 500);
    cr_assert(reader_count(behind) == (size_t)newest && reader_count(live) == (size_t)newest - 500);
    leave(one, behind);
    leave(other, live);
}

Test(hub, events_of_many_tenants_reach_their_own_readers_only)
{
    enum { TENANTS = 12 };
    struct support_tenant tenants[TENANTS];
    struct reader *readers[TENANTS];
    struct hub_subscriber *subscribers[TENANTS];

    for (int i = 0; i < TENANTS; i++) {
        char name[32];

        snprintf(name, sizeof(name), "hub-many-%d", i);
        tenants[i] = support_tenant_make(name, 1000, 1000, 0);
        readers[i] = reader_create();
        subscribers[i] = subscribe(&tenants[i], readers[i], 0);
    }
    for (int i = 0; i < TENANTS; i++)
        write_events(&tenants[i], i + 1);
    for (int i = 0; i < TENANTS; i++) {
        wait_frames(readers[i], (size_t)i + 1);
        reader_check_chain(readers[i], 0);
    }
    cr_assert(hub_subscribers(hub) == TENANTS);
    for (int i = 0; i < TENANTS; i++) {
        cr_assert(reader_count(readers[i]) == (size_t)i + 1);
        leave(subscribers[i], readers[i]);
    }
}

Test(hub, a_drain_ends_every_stream_and_later_ones_too)
{
    struct support_tenant tenant = support_tenant_make("hub-drain", 1000, 1000, 0);
    struct reader *early = reader_create(), *late = reader_create();

    write_events(&tenant, 4);
    subscribe(&tenant, early, 0);
    wait_frames(early, 4);
    hub_drain(hub);
    cr_assert(fixture_until(WAIT_MS, has_ended, early));
    cr_assert(early->end == HUB_END_DRAINING && early->end_seq == 4 && early->end_prev_seq == 4);
    subscribe(&tenant, late, 2);
    cr_assert(fixture_until(WAIT_MS, has_ended, late));
    cr_assert(late->end == HUB_END_DRAINING && late->end_seq >= 2);
    cr_assert(hub_subscribers(hub) == 0);
    reader_destroy(early);
    reader_destroy(late);
}

Test(hub, a_client_that_leaves_at_any_moment_is_ended_once)
{
    struct support_tenant tenant = support_tenant_make("hub-leave", 1000, 1000, 0);
    struct reader *readers[100];

    write_events(&tenant, 50);
    for (int i = 0; i < 100; i++) {
        struct hub_subscriber *subscriber;

        readers[i] = reader_create();
        subscriber = subscribe(&tenant, readers[i], i % 2 ? 0 : 30);
        if (i % 3 == 0)
            sched_yield();
        if (i % 3 == 1)
            wait_frames(readers[i], 1);
        hub_unsubscribe(hub, subscriber);
    }
    for (int i = 0; i < 100; i++) {
        cr_assert(fixture_until(WAIT_MS, has_ended, readers[i]));
        cr_assert(readers[i]->end == HUB_END_FAILED);
        reader_destroy(readers[i]);
    }
    cr_assert(hub_subscribers(hub) == 0);
}

Test(hub, streams_survive_the_loss_of_the_connection_to_postgres)
{
    struct support_tenant tenant = support_tenant_make("hub-loss", 1000, 1000, 0);
    struct reader *reader = reader_create();
    struct hub_subscriber *subscriber = subscribe(&tenant, reader, 0);

    write_events(&tenant, 2);
    wait_frames(reader, 2);
    support_terminate_backends("%");
    write_events(&tenant, 2);
    wait_frames(reader, 4);
    reader_check_chain(reader, 0);
    leave(subscriber, reader);
}
