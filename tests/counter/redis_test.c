#include "tests/counter/fixture.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture f;

static void set_up(void)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);

    fixture_set_up(&f);
    fixture_fill(&f, &totals, 1);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(redis, .init = set_up, .fini = tear_down);

static struct counter *counter_with(const char *address, int timeout_ms)
{
    struct counter_options options = {
        .address = address, .connect_timeout_ms = 500, .timeout_ms = timeout_ms};

    return counter_create(&options);
}

static struct counter_observe observe_of(void)
{
    return (struct counter_observe){.call = fixture_call(&f, COUNTER_OBSERVE)};
}

static enum status observe_with(struct counter *counter)
{
    struct counter_observe observe = observe_of();

    counter_add(counter, &observe.call);
    counter_run(counter);
    return observe.call.status;
}

/* --- the guard -------------------------------------------------------------------------------- */

/* Every kind of call that has a guard, with arguments that would do something. */
static void expect_all_lost(void)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 200);
    const struct counter_version version = {TENANT, 99};
    struct counter_notify_job job = {TENANT, SLICE("job"), true, {EPOCH, 1}};
    struct counter_reserve_item item = item_of(&f, "new", 1);
    const struct slice name = SLICE("job");
    const struct quota_ref ref = {1, 0};
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .totals_count = 1,
                                   .totals = &totals,
                                   .versions_count = 1,
                                   .versions = &version};
    struct counter_notify notify = {
        .call = fixture_call(&f, COUNTER_NOTIFY), .now_ms = NOW, .jobs_count = 1, .jobs = &job};
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = TENANT,
                                    .jobs_count = 1,
                                    .jobs = &name};
    struct counter_extend extend = {.call = fixture_call(&f, COUNTER_EXTEND),
                                    .now_ms = NOW,
                                    .tenant_id = TENANT,
                                    .job_id = name,
                                    .deadline_ms = DEADLINE + 1,
                                    .lifetime_ms = 1000000};
    struct counter_due due = {
        .call = fixture_call(&f, COUNTER_DUE), .now_ms = DEADLINE, .max = 10};
    struct counter_reap reap = {.call = fixture_call(&f, COUNTER_REAP),
                                .now_ms = DEADLINE,
                                .tenant_id = TENANT,
                                .reaped_to_ms = DEADLINE,
                                .jobs_count = 1,
                                .jobs = &job};
    struct counter_recall recall = {
        .call = fixture_call(&f, COUNTER_RECALL), .totals_count = 1, .totals = &totals};
    struct counter_read read = {
        .call = fixture_call(&f, COUNTER_READ), .tenant_id = TENANT, .refs_count = 1, .refs = &ref};
    struct counter_holds holds = {.call = fixture_call(&f, COUNTER_HOLDS),
                                  .tenant_id = TENANT,
                                  .after_deadline_ms = -1,
                                  .max = 10};
    struct counter_call *calls[] = {&reserve.call, &filling.call, &notify.call, &lookup.call,
                                    &extend.call,  &due.call,     &reap.call,   &recall.call,
                                    &read.call,    &holds.call};

    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        counter_add(f.counter, calls[i]);
    counter_run(f.counter);
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        cr_assert_eq(calls[i]->status, STATUS_OK, "%zu: %s", i, counter_last_error(f.counter));
        cr_assert_eq(calls[i]->guard, GUARD_LOST, "%zu", i);
    }
}

/* Everything but the authority key. */
static const char *contents(void)
{
    return fixture_cli(&f, "hgetall " KEY_T "; redis-cli -s %s hgetall " KEY_C ";"
                           "redis-cli -s %s dbsize",
                       f.socket, f.socket);
}

Test(redis, another_nonce_stops_every_script_before_it_writes)
{
    const char *before;

    fixture_admit(&f, "job", 30);
    before = contents();
    f.view.nonce[0] = 'b';
    expect_all_lost();
    cr_assert_str_eq(contents(), before);
}

Test(redis, another_epoch_stops_every_script_before_it_writes)
{
    const char *before;

    fixture_admit(&f, "job", 30);
    before = contents();
    for (int64_t epoch = EPOCH - 1; epoch <= EPOCH + 1; epoch += 2) {
        f.view.epoch = epoch;
        expect_all_lost();
    }
    cr_assert_str_eq(contents(), before);
}

Test(redis, another_replid_stops_every_script_before_it_writes)
{
    const char *before;

    fixture_admit(&f, "job", 30);
    before = contents();
    f.view.replid[39] = f.view.replid[39] == '0' ? '1' : '0';
    expect_all_lost();
    cr_assert_str_eq(contents(), before);
}

Test(redis, an_emptied_redis_is_lost)
{
    fixture_cli(&f, "flushall");
    expect_all_lost();
    cr_assert_str_eq(fixture_cli(&f, "dbsize"), "0");
}

Test(redis, a_restored_dump_is_lost)
{
    struct counter_observe observe = observe_of();
    char replid[REPLID_CHARS + 1];
    char dump[112];

    fixture_admit(&f, "job", 30);
    memcpy(replid, f.view.replid, sizeof(replid));
    fixture_cli(&f, "save");
    fixture_kill_redis(&f);
    fixture_start_redis(&f);
    cr_assert_eq(strncmp(fixture_cli(&f, "hget " KEY_T " 1:0"), "30 ", 3), 0, "the dump was loaded");
    expect_all_lost();
    counter_add(f.counter, &observe.call);
    counter_run(f.counter);
    cr_assert_eq(observe.call.guard, GUARD_LOST);
    cr_assert_eq(observe.call.observed.epoch, EPOCH);
    cr_assert_str_neq(observe.call.observed.replid, replid);
    snprintf(dump, sizeof(dump), "%s/dump.rdb", f.folder);
    unlink(dump);
}

Test(redis, a_replica_admits_nothing_and_tells_nothing)
{
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};
    const struct quota_ref ref = {1, 0};
    struct counter_read read = {
        .call = fixture_call(&f, COUNTER_READ), .tenant_id = TENANT, .refs_count = 1, .refs = &ref};

    /* Its replid stays what it was until it has met its master. */
    fixture_cli(&f, "replicaof 127.0.0.1 1");
    counter_add(f.counter, &reserve.call);
    counter_add(f.counter, &read.call);
    counter_run(f.counter);
    cr_assert_eq(reserve.call.status, STATUS_OK, "%s", counter_last_error(f.counter));
    cr_assert_eq(reserve.call.guard, GUARD_LOST);
    cr_assert(!reserve.call.observed.master);
    cr_assert_str_eq(reserve.call.observed.replid, f.view.replid);
    cr_assert_eq(read.call.guard, GUARD_LOST);
    cr_assert_eq(read.call.status, STATUS_OK);
    fixture_cli(&f, "replicaof no one");
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_LEAF), "0");
}

Test(redis, a_redis_that_evicts_is_told)
{
    struct counter_observe observe = observe_of();

    counter_add(f.counter, &observe.call);
    counter_run(f.counter);
    cr_assert_eq(observe.call.guard, GUARD_PASSED);
    cr_assert(!observe.call.observed.evicts);
    fixture_cli(&f, "config set maxmemory-policy allkeys-lru");
    counter_add(f.counter, &observe.call);
    counter_run(f.counter);
    cr_assert_eq(observe.call.status, STATUS_OK);
    cr_assert(observe.call.observed.evicts);
}

/* --- init ---------------------------------------------------------------------------------------- */

static struct counter_call init_with(int64_t epoch, char nonce)
{
    struct counter_init init = {.call = fixture_call(&f, COUNTER_INIT)};

    init.call.view.epoch = epoch;
    memset(init.call.view.nonce, nonce, NONCE_CHARS);
    counter_add(f.counter, &init.call);
    counter_run(f.counter);
    cr_assert_eq(init.call.status, STATUS_OK);
    return init.call;
}

Test(redis, init_gives_way_only_to_a_larger_epoch)
{
    struct counter_call call = init_with(EPOCH, 'a');

    cr_assert_eq(call.guard, GUARD_PASSED, "the same again");
    call = init_with(EPOCH, 'b');
    cr_assert_eq(call.guard, GUARD_LOST);
    cr_assert_eq(call.observed.nonce[0], 'a');
    call = init_with(EPOCH - 1, 'b');
    cr_assert_eq(call.guard, GUARD_LOST);
    cr_assert_eq(call.observed.epoch, EPOCH);
    call = init_with(10, 'c');
    cr_assert_eq(call.guard, GUARD_PASSED);
    cr_assert_eq(call.observed.epoch, 10);
    cr_assert_eq(call.observed.nonce[31], 'c');
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_A " l"), "2");
}

Test(redis, init_of_another_incarnation_changes_nothing)
{
    f.view.replid[0] = f.view.replid[0] == '0' ? '1' : '0';
    cr_assert_eq(init_with(10, 'c').guard, GUARD_LOST);
    cr_assert_eq(strncmp(fixture_cli(&f, "hget " KEY_A " 17"), "3:", 2), 0);
}

Test(redis, after_a_new_epoch_old_holds_are_known_and_old_leases_admit_nothing)
{
    struct counter_reserve_item items[2] = {fixture_admit(&f, "job", 30), item_of(&f, "new", 1)};
    struct counter_totals totals = totals_of(1, (INT64_C(4) << 20) + 1, 40);

    cr_assert_eq(init_with(4, 'c').guard, GUARD_PASSED);
    f.view.epoch = 4;
    memset(f.view.nonce, 'c', NONCE_CHARS);
    fixture_reserve(&f, items, 2);
    cr_assert_eq(items[0].answer, RESERVED_STALE, "the version is one of the old epoch");
    fixture_fill(&f, NULL, 0);
    fixture_reserve(&f, items, 2);
    cr_assert_eq(items[0].answer, RESERVED_KNOWN);
    cr_assert_eq(items[1].answer, RESERVED_SHORT);
    cr_assert_eq(items[1].shortfalls[0], SHORT_UNFILLED);
    fixture_fill(&f, &totals, 1);
    fixture_reserve(&f, items, 2);
    cr_assert_eq(items[1].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[1].attempt.epoch, 4);
    cr_assert_eq(items[1].attempt.seq, 2, "the counter is the tag's and goes on");
    cr_assert_eq(items[1].states[0].held, 1);
}

/* --- a user who may do no more than README.md says ---------------------------------------------------- */

/* Whatever is done only where a tenant has many holds, or where a key was lost. */
static void run_with_leaves(void)
{
    const int64_t tenants[] = {TENANT};
    const struct counter_lost lost = {{9, 0}, LEASE(1)};
    struct counter_due due = {
        .call = fixture_call(&f, COUNTER_DUE), .now_ms = NOW, .tenant_id = TENANT, .max = 5};
    struct counter_holds holds = {.call = fixture_call(&f, COUNTER_HOLDS),
                                  .tenant_id = TENANT,
                                  .after_deadline_ms = 0,
                                  .max = 5};
    struct counter_check check = {
        .call = fixture_call(&f, COUNTER_CHECK), .now_ms = NOW, .max = 5, .cursor = "0"};
    struct counter_rebuild rebuild = {.call = fixture_call(&f, COUNTER_REBUILD),
                                      .tenant_id = TENANT,
                                      .max = 5,
                                      .cursor = "0"};
    struct counter_register list = {.call = fixture_call(&f, COUNTER_REGISTER),
                                    .tenants_count = 1,
                                    .tenants = tenants,
                                    .last = true};
    struct counter_forget forget = {.call = fixture_call(&f, COUNTER_FORGET),
                                    .tenant_id = TENANT,
                                    .quotas_count = 1,
                                    .quotas = &lost};
    const struct counter_due_hold unreadable = {.job_id = SLICE("bad"), .packed = SLICE("bad")};
    struct counter_discard discard = {.call = fixture_call(&f, COUNTER_DISCARD),
                                      .tenant_id = TENANT,
                                      .holds_count = 1,
                                      .holds = &unreadable};
    struct counter_clean clean = {
        .call = fixture_call(&f, COUNTER_CLEAN), .tenants_count = 1, .tenants = tenants};
    struct counter_totals totals = totals_of(1, LEASE(2), 500);
    struct counter_reserve_item item;

    fixture_fill(&f, &totals, 1);
    for (int i = 0; i < 80; i++) {
        item = item_of(&f, arena_printf(&f.arena, "job-%d", i), 1);
        item.deadline_ms += i % 2 ? i : -i;
        fixture_reserve(&f, &item, 1);
        cr_assert_eq(item.answer, RESERVED_ADMITTED);
    }
    item = item_of(&f, "large", 1000);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.latest_deadline_ms, DEADLINE + 79);
    fixture_run(&f, &due.call);
    fixture_run(&f, &holds.call);
    cr_assert_eq(holds.holds_total, 80);
    fixture_run(&f, &clean.call);
    cr_assert_eq(clean.removed, 0);
    for (int i = 0; i < 80; i++)
        fixture_notify(&f, arena_printf(&f.arena, "job-%d", i), NULL, NULL, 0);
    fixture_admit(&f, "last", 1);
    fixture_run(&f, &rebuild.call);
    fixture_run(&f, &check.call);
    cr_assert_eq(check.findings_count, 0);
    cr_assert(!check.whole);
    fixture_run(&f, &list.call);
    fixture_run(&f, &forget.call);
    fixture_run(&f, &check.call);
    cr_assert(check.whole);
    fixture_cli(&f, "hset " KEY_T " 7=bad bad");
    fixture_run(&f, &discard.call);
    cr_assert_eq(discard.discarded_count, 1);
}

Test(redis, the_scripts_need_no_more_rights_than_listed)
{
    struct counter_reserve_item item = item_over(&f, "job", 1, 1);
    struct counter_totals totals = totals_of(1, LEASE(1), 200);
    struct counter_totals later = totals_of(2, LEASE(1), 200);
    struct counter_notify_job job = {TENANT, SLICE("job"), true, {EPOCH, 1}};
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE), .now_ms = NOW, .max = 5};
    struct counter_holds holds = {.call = fixture_call(&f, COUNTER_HOLDS),
                                  .tenant_id = TENANT,
                                  .after_deadline_ms = 0,
                                  .max = 5};
    struct counter_extend extend = {.call = fixture_call(&f, COUNTER_EXTEND),
                                    .now_ms = NOW,
                                    .tenant_id = TENANT,
                                    .job_id = SLICE("job"),
                                    .deadline_ms = DEADLINE + 1,
                                    .lifetime_ms = 1000000};
    struct counter_reap reap = {.call = fixture_call(&f, COUNTER_REAP),
                                .now_ms = LEASE_END,
                                .tenant_id = TENANT,
                                .reaped_to_ms = LEASE_END,
                                .jobs_count = 1,
                                .jobs = &job,
                                .totals_count = 1,
                                .totals = &totals};
    struct counter_recall recall = {
        .call = fixture_call(&f, COUNTER_RECALL), .totals_count = 1, .totals = &totals};

    cr_assert_str_eq(
        fixture_cli(&f, "acl setuser default resetkeys '~q:{*' resetchannels -@all +del +eval "
                        "+evalsha +exists +hdel +hexists +hget +hgetall +hincrby +hlen +hmget "
                        "+hrandfield +hscan +hset +hsetnx +info +sadd +scard +smismember +unlink "
                        "+zadd +zcard +zcount +zrange +zrangebyscore +zrem +zremrangebyscore "
                        "+zrevrange +zrevrangebyscore +zscan +zscore"),
        "OK");
    fixture_fill(&f, &totals, 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    fixture_run(&f, &extend.call);
    cr_assert_eq(extend.answer, EXTENDED_DONE);
    fixture_run(&f, &holds.call);
    cr_assert_eq(holds.holds_count, 1);
    fixture_run(&f, &reap.call);
    cr_assert_eq(reap.removed_count, 1);
    item = item_over(&f, "next", 1, 1000);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    item = fixture_admit(&f, "next", 1);
    fixture_reserve(&f, &item, 1);
    fixture_notify(&f, "next", NULL, &totals, 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_FINAL);
    fixture_run(&f, &due.call);
    fixture_run(&f, &recall.call);
    fixture_fill(&f, &later, 1);
    cr_assert_eq(fixture_entry(&f, "next").len, 0);
    run_with_leaves();
}

/* --- the connection ------------------------------------------------------------------------------ */

Test(redis, a_script_that_redis_forgot_is_sent_again_as_text)
{
    fixture_admit(&f, "before", 1);
    fixture_cli(&f, "script flush");
    fixture_admit(&f, "after", 1);
    cr_assert_eq(fixture_quota(&f, 1).held, 2);
}

Test(redis, many_calls_in_one_round_trip_even_when_all_scripts_are_new)
{
    struct counter_reserve_item items[8];
    struct counter_reserve reserves[8];
    char job[16];

    fixture_cli(&f, "script flush");
    for (int i = 0; i < 8; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        items[i] = item_of(&f, job, 1);
        reserves[i] = (struct counter_reserve){.call = fixture_call(&f, COUNTER_RESERVE),
                                               .now_ms = NOW,
                                               .items_count = 1,
                                               .items = &items[i]};
        counter_add(f.counter, &reserves[i].call);
    }
    counter_run(f.counter);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(reserves[i].call.status, STATUS_OK);
        cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
    }
    cr_assert_eq(fixture_quota(&f, 1).held, 8);
}

/* What Redis does not know runs after what was added later; whoever counts on the order can see it. */
Test(redis, what_is_sent_again_as_text_runs_last_and_says_so)
{
    const struct counter_version version = {TENANT, 99};
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_fill fill = {
        .call = fixture_call(&f, COUNTER_FILL), .versions_count = 1, .versions = &version};
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};

    fixture_cli(&f, "script flush");
    fixture_admit(&f, "before", 1); /* now reserve is known, and fill is not */
    item.config_version = 99;
    counter_add(f.counter, &fill.call);
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_eq(fill.call.status, STATUS_OK);
    cr_assert(fill.call.by_text);
    cr_assert_not(reserve.call.by_text);
    cr_assert_eq(item.answer, RESERVED_STALE);
    counter_add(f.counter, &fill.call);
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_not(fill.call.by_text);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
}

static const char *replid_over(struct counter *counter)
{
    static struct counter_observe observe;

    observe = observe_of();
    counter_add(counter, &observe.call);
    counter_run(counter);
    cr_assert_eq(observe.call.status, STATUS_OK);
    return observe.call.observed.replid;
}

/* A second Redis takes over the path; the first one goes on answering who is connected to it. */
static pid_t start_second_redis(void)
{
    pid_t first = f.redis;
    char process[32];

    fixture_start_redis(&f);
    snprintf(process, sizeof(process), "process_id:%d", (int)f.redis);
    for (int i = 0; i < 1000 && !strstr(fixture_cli(&f, "info server"), process); i++)
        usleep(5000);
    cr_assert(strstr(fixture_cli(&f, "info server"), process));
    return first;
}

static void kill_first_redis(pid_t first)
{
    cr_assert_eq(kill(first, SIGKILL), 0);
    cr_assert_eq(waitpid(first, NULL, 0), first);
}

Test(redis, a_connection_that_leads_to_another_redis_than_believed_is_opened_anew)
{
    struct counter *fresh = counter_with(f.address, 2000);
    const struct slice name = SLICE("job");
    struct counter_lookup lookup;
    char old_replid[REPLID_CHARS + 1], new_replid[REPLID_CHARS + 1];
    pid_t first;

    snprintf(old_replid, sizeof(old_replid), "%s", replid_over(f.counter));
    first = start_second_redis();
    cr_assert_str_eq(replid_over(f.counter), old_replid, "the first one lives on");
    snprintf(new_replid, sizeof(new_replid), "%s", replid_over(fresh));
    cr_assert_str_neq(new_replid, old_replid);
    memcpy(f.view.replid, new_replid, sizeof(new_replid));
    lookup = (struct counter_lookup){.call = fixture_call(&f, COUNTER_LOOKUP),
                                     .tenant_id = TENANT,
                                     .jobs_count = 1,
                                     .jobs = &name};
    counter_add(f.counter, &lookup.call);
    counter_run(f.counter);
    cr_assert_eq(lookup.call.guard, GUARD_LOST);
    cr_assert_str_eq(lookup.call.observed.replid, old_replid);
    cr_assert_str_eq(replid_over(f.counter), new_replid);
    counter_destroy(fresh);
    kill_first_redis(first);
}

Test(redis, a_renewed_connection_leads_where_the_address_leads)
{
    char old_replid[REPLID_CHARS + 1];
    pid_t first;

    snprintf(old_replid, sizeof(old_replid), "%s", replid_over(f.counter));
    first = start_second_redis();
    cr_assert_str_eq(replid_over(f.counter), old_replid);
    counter_renew(f.counter);
    cr_assert_str_neq(replid_over(f.counter), old_replid);
    kill_first_redis(first);
}

Test(redis, a_restarted_redis_is_connected_again_without_a_lost_call)
{
    cr_assert(counter_is_connected(f.counter));
    fixture_kill_redis(&f);
    fixture_start_redis(&f);
    cr_assert_eq(observe_with(f.counter), STATUS_OK);
}

Test(redis, without_redis_nothing_was_sent)
{
    fixture_kill_redis(&f);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(observe_with(f.counter), STATUS_UNAVAILABLE);
    cr_assert(!counter_is_connected(f.counter));
    cr_assert(strlen(counter_last_error(f.counter)) > 0);
    cr_assert_eq(counter_fd(f.counter), -1);
}

Test(redis, attempts_to_connect_back_off_and_go_on)
{
    int64_t started = clock_mono_us(clock_real());
    int64_t until = started + 30 * INT64_C(1000000);
    enum status status;

    fixture_kill_redis(&f);
    cr_assert_eq(observe_with(f.counter), STATUS_UNAVAILABLE);
    fixture_start_redis(&f);
    do {
        status = observe_with(f.counter);
    } while (status == STATUS_UNAVAILABLE && clock_mono_us(clock_real()) < until);
    cr_assert_eq(status, STATUS_OK);
}

Test(redis, a_silent_redis_leaves_calls_unknown_and_their_effect_possible)
{
    struct counter *counter = counter_with(f.address, 50);
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};

    fixture_admit(&f, "before", 1);
    cr_assert_eq(observe_with(counter), STATUS_OK);
    cr_assert_eq(kill(f.redis, SIGSTOP), 0);
    counter_add(counter, &reserve.call);
    counter_run(counter);
    cr_assert_eq(reserve.call.status, STATUS_UNKNOWN);
    cr_assert(!counter_is_connected(counter));
    cr_assert_eq(kill(f.redis, SIGCONT), 0);
    for (int i = 0; i < 1000 && fixture_entry(&f, "job").len == 0; i++)
        usleep(5000);
    cr_assert(fixture_entry(&f, "job").len > 0, "it did happen");
    counter_destroy(counter);
}

Test(redis, calls_are_answered_between_other_work)
{
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};
    enum counter_progress progress;

    cr_assert_eq(counter_receive(f.counter), COUNTER_DONE);
    counter_add(f.counter, &reserve.call);
    progress = counter_send(f.counter);
    while (progress == COUNTER_PENDING) {
        struct pollfd wait = {.fd = counter_fd(f.counter), .events = counter_events(f.counter)};

        cr_assert(wait.fd >= 0);
        cr_assert(poll(&wait, 1, 5000) > 0);
        progress = counter_receive(f.counter);
    }
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    cr_assert_eq(counter_fd(f.counter), -1);
}

Test(redis, an_arena_too_small_is_told_apart_by_direction)
{
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};
    struct arena small;

    arena_init(&small, 64, 64);
    reserve.call.arena = &small;
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_eq(reserve.call.status, STATUS_EXHAUSTED);
    arena_done(&small);
    arena_init(&small, 512, 512);
    reserve.call.arena = &small;
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_eq(reserve.call.status, STATUS_UNKNOWN);
    arena_done(&small);
}

Test(redis, data_of_another_type_is_corrupt_and_nothing_is_written)
{
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};

    fixture_cli(&f, "hset " KEY_T " 1:0 many");
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_eq(reserve.call.status, STATUS_CORRUPT);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_LEAF), "0");
}

/* --- a server that is not Redis ------------------------------------------------------------------- */

/* Runs one observe against a server that says `answer` and closes. */
static enum status observe_told(const char *answer)
{
    struct counter_observe observe = observe_of();
    char address[128];
    struct counter *counter;
    char request[8192];
    int server;
    int peer;

    snprintf(address, sizeof(address), "unix:%s/other", f.folder);
    server = fixture_listen(address + 5);
    counter = counter_with(address, 2000);
    counter_add(counter, &observe.call);
    counter_send(counter);
    peer = accept(server, NULL, NULL);
    cr_assert(peer >= 0);
    cr_assert(read(peer, request, sizeof(request)) > 0);
    cr_assert(write(peer, answer, strlen(answer)) == (ssize_t)strlen(answer));
    close(peer);
    counter_run(counter);
    counter_destroy(counter);
    close(server);
    unlink(address + 5);
    return observe.call.status;
}

Test(redis, errors_before_a_script_runs_are_definite)
{
    const char *errors[] = {"LOADING Redis is loading", "MISCONF Errors writing", "OOM command",
                            "READONLY You can't write", "BUSY Redis is busy", "CLUSTERDOWN no",
                            "MOVED 1 host:1", "TRYAGAIN slots", "NOAUTH needed"};
    char line[128];

    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        snprintf(line, sizeof(line), "-%s\r\n", errors[i]);
        cr_assert_eq(observe_told(line), STATUS_UNAVAILABLE, "%s", errors[i]);
    }
}

Test(redis, answers_that_make_no_sense_are_corrupt_or_unknown)
{
    cr_assert_eq(observe_told("-ERR user_script:3: attempt\r\n"), STATUS_CORRUPT);
    cr_assert_eq(observe_told("+OK\r\n"), STATUS_CORRUPT);
    cr_assert_eq(observe_told("$-1\r\n"), STATUS_CORRUPT);
    cr_assert_eq(observe_told("*0\r\n"), STATUS_CORRUPT);
    cr_assert_eq(observe_told("*1\r\n$2\r\nOK\r\n"), STATUS_CORRUPT);
    cr_assert_eq(observe_told("*2\r\n$4\r\nSEEN\r\n$6\r\nmaster\r\n"), STATUS_CORRUPT);
    cr_assert_eq(observe_told("*5\r\n$4\r\nSEEN\r\n$6\r\nmaster\r\n$1\r\nx\r\n$1\r\ny\r\n$0\r\n\r\n"),
                 STATUS_CORRUPT, "an epoch that is no number");
    cr_assert_eq(observe_told("?what\r\n"), STATUS_UNKNOWN);
    cr_assert_eq(observe_told("*5\r\n$4\r\nSEEN"), STATUS_UNKNOWN, "cut");
    cr_assert_eq(observe_told(""), STATUS_UNKNOWN);
}

Test(redis, a_request_not_wholly_written_did_not_happen)
{
    static struct counter_reserve_item items[COUNTER_ITEMS_MAX];
    static char identity[1 << 16];
    struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                      .now_ms = NOW,
                                      .items_count = COUNTER_ITEMS_MAX,
                                      .items = items};
    char address[128];
    struct counter *counter;
    int server;

    memset(identity, 'x', sizeof(identity));
    for (size_t i = 0; i < COUNTER_ITEMS_MAX; i++) {
        items[i] = item_of(&f, "job", 1);
        items[i].identity = slice_of(identity, sizeof(identity) - i % 2); /* none as the one before */
    }
    snprintf(address, sizeof(address), "unix:%s/other", f.folder);
    server = fixture_listen(address + 5);
    counter = counter_with(address, 50);
    counter_add(counter, &reserve.call);
    counter_run(counter);
    cr_assert_eq(reserve.call.status, STATUS_UNAVAILABLE);
    counter_destroy(counter);
    close(server);
    unlink(address + 5);
}

Test(redis, tcp_and_names_work_too)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(any);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    const char *hosts[] = {"127.0.0.1", "localhost"};
    char address[64];
    int port;

    cr_assert(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&any, &len) == 0);
    port = ntohs(any.sin_port);
    close(fd);
    cr_assert_str_eq(fixture_cli(&f, "config set port %d", port), "OK");
    for (size_t i = 0; i < ARRAY_COUNT(hosts); i++) {
        struct counter *counter;
        enum status status;

        snprintf(address, sizeof(address), "%s:%d", hosts[i], port);
        counter = counter_with(address, 2000);
        status = observe_with(counter);
        cr_assert_eq(status, STATUS_OK, "%s: %s", address, counter_last_error(counter));
        counter_destroy(counter);
    }
}
