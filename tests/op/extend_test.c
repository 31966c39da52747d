/*
 * Every row of the table of answers in op/extend.h, over made-up stores. What OK means: the hold lasts as
 * long as was asked for.
 */
#include "op/extend.h"

#include "base/check.h"
#include "op/aside.h"
#include "quota/token.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1764072000000)
#define LEASE (INT64_C(1) << 20)

enum { TENANT = 7, OPS_MAX = 5, STEPS_MAX = 8, HELD_MS = 30000, TTL_MS = 60000 };

/* What a script answers, in turn; the last one again and again. */
struct step {
    int answer;           /* of enum counter_extended or counter_retaken */
    int64_t moves_ms;     /* DONE: the deadline that the entry shows is so much off what was asked */
    enum status status;   /* not OK: it did not run */
};

/* The two stores of a test, and what they were asked. */
static struct world {
    struct step extends[STEPS_MAX], retakes[STEPS_MAX];
    size_t extends_count, retakes_count; /* asked so far */
    int entry_seq;                       /* of the attempt that the scripts show; 0: the hold's */
    int64_t look_moved;                  /* scripts that were to move nothing */
    int fills, undone;
    bool undone_committed, kept_shown;
    enum counter_took took;
    /* the root, of every quota */
    bool missing, bad, epoch_changed, kept, no_room;
    enum status grant_status;
    int64_t refused_tenant, locked_tenant; /* whose grants are an error, or locked */
    int grants;                            /* transactions */
    int64_t needed, kept_lease_id, vanished_lease_id, pushed_ms;
    /* the record: from which question on */
    enum status facts_status;
    int facts_down_from, fenced_from, committed_from; /* 0: never; 1: the first */
    int64_t facts_refused_tenant;
    bool expired;
    int facts; /* questions */
    char sqlstate[6];
    int collected;
    bool gone_after_collect;
} w;

static struct pretend *p;
static struct clock_manual manual_clock;
static struct arena arena;
static struct hold held;
static struct granting granting;

/* One Extend and what became of it. */
static struct one {
    struct op_extend op;
    struct token token;
    bool done, released;
} ones[OPS_MAX];

/* --- Redis -------------------------------------------------------------------------------------- */

static const struct step *step_of(const struct step *steps, size_t *count)
{
    size_t at = *count < STEPS_MAX ? *count : STEPS_MAX - 1;

    (*count)++;
    while (at > 0 && steps[at].answer == 0 && steps[at].status == STATUS_OK &&
           steps[at].moves_ms == 0)
        at--;
    return &steps[at];
}

static struct slice entry_of(int64_t deadline_ms)
{
    struct hold hold = held;

    hold.deadline_ms = deadline_ms;
    if (w.entry_seq)
        hold.attempt.seq = w.entry_seq;
    return slice_from_cstr(hold_text(&arena, &hold));
}

static void extend(struct counter_extend *call)
{
    const struct step *step = step_of(w.extends, &w.extends_count);
    int64_t last_ms = held.created_ms + call->lifetime_ms;
    int64_t moved_ms = call->deadline_ms < last_ms ? call->deadline_ms : last_ms;

    call->call.status = step->status;
    call->answer = (enum counter_extended)step->answer;
    w.kept_shown |= call->kept != NULL;
    if (call->deadline_ms == 0) {
        w.look_moved++;
        moved_ms = held.deadline_ms;
    }
    if (w.gone_after_collect && w.collected)
        call->answer = EXTENDED_ABSENT;
    if (call->answer == EXTENDED_DONE) {
        if (moved_ms + step->moves_ms > held.deadline_ms)
            held.deadline_ms = moved_ms + step->moves_ms;
        call->entry = entry_of(held.deadline_ms);
    } else if (call->answer != EXTENDED_ABSENT) {
        call->entry = entry_of(held.deadline_ms);
    }
}

static void retake(struct counter_retake *call)
{
    const struct step *step = step_of(w.retakes, &w.retakes_count);
    struct hold hold = *call->hold;

    call->call.status = step->status;
    call->answer = (enum counter_retaken)step->answer;
    if (call->answer != RETAKEN_DONE)
        return;
    hold.deadline_ms += step->moves_ms;
    call->entry = slice_from_cstr(hold_text(&arena, &hold));
}

static void redis(struct counter_call *call)
{
    struct counter_fill *fill = container_of(call, struct counter_fill, call);
    struct counter_notify *notify = container_of(call, struct counter_notify, call);
    struct counter_read *read = container_of(call, struct counter_read, call);

    if (call->kind == COUNTER_EXTEND) {
        extend(container_of(call, struct counter_extend, call));
    } else if (call->kind == COUNTER_RETAKE) {
        retake(container_of(call, struct counter_retake, call));
    } else if (call->kind == COUNTER_FILL) {
        w.fills++;
        for (size_t i = 0; i < fill->totals_count; i++)
            fill->totals[i].took = w.took;
    } else if (call->kind == COUNTER_NOTIFY) {
        w.undone++;
        w.undone_committed = notify->jobs[0].committed;
        cr_assert_eq(notify->jobs[0].attempt.seq, held.attempt.seq);
    } else if (call->kind == COUNTER_READ) {
        read->states = arena_array(call->arena, read->refs_count, sizeof(*read->states));
    } else {
        cr_assert_fail("an unexpected call of Redis, kind %d", (int)call->kind);
    }
}

static void collect(void *user)
{
    (void)user;
    w.collected++;
}

/* --- the database ------------------------------------------------------------------------------- */

static enum status answer_grants(struct ledger_grant *grants, size_t count)
{
    enum status status = w.grant_status;

    for (size_t i = 0; i < count; i++) {
        if (grants[i].tenant_id == w.locked_tenant && w.locked_tenant)
            status = STATUS_CONFLICT;
        else if (grants[i].tenant_id == w.refused_tenant && w.refused_tenant)
            status = STATUS_FAULT;
    }
    return status;
}

static enum status grant_run(struct database *db, struct arena *scratch,
                             struct ledger_grant *grants, size_t count, int64_t *ret_now_ms)
{
    enum status status = answer_grants(grants, count);

    (void)db, (void)scratch;
    w.grants++;
    *ret_now_ms = NOW;
    for (size_t i = 0; i < count; i++) {
        struct ledger_grant *grant = &grants[i];

        grant->locked = status == STATUS_CONFLICT && grant->tenant_id == w.locked_tenant;
        if (status != STATUS_OK)
            continue;
        w.needed = grant->needed;
        w.pushed_ms = grant->deadline_ms;
        if (grant->kept_lease_id)
            w.kept_lease_id = grant->kept_lease_id;
        if (grant->vanished_lease_id)
            w.vanished_lease_id = grant->vanished_lease_id;
        grant->missing = w.missing || w.bad;
        grant->bad = w.bad;
        grant->epoch_changed = w.epoch_changed;
        grant->kept = w.kept && grant->kept_lease_id;
        grant->granted_units = w.no_room ? 0 : grant->needed;
        grant->quota = (struct quota_row){.tenant_id = grant->tenant_id,
                                          .ref = grant->ref,
                                          .period = PERIOD_NEVER,
                                          .lease_id = LEASE + 5,
                                          .epoch = 1,
                                          .state = QUOTA_OPEN};
    }
    return status;
}

static enum status facts_read(struct database *db, struct arena *scratch, struct ledger_job *jobs,
                              size_t count, int64_t *ret_now_ms)
{
    static struct settle_record record;
    static struct attempt fence;
    static struct hold expired;

    (void)db, (void)scratch;
    w.facts++;
    *ret_now_ms = NOW;
    fence = held.attempt;
    for (size_t i = 0; i < count; i++)
        if (jobs[i].tenant_id == w.facts_refused_tenant)
            return STATUS_CORRUPT;
    if (w.facts_down_from && w.facts >= w.facts_down_from)
        return w.facts_status;
    for (size_t i = 0; i < count; i++)
        jobs[i].facts = (struct settle_facts){
            .record = w.committed_from && w.facts >= w.committed_from ? &record : NULL,
            .fences_count = w.fenced_from && w.facts >= w.fenced_from,
            .fences = &fence,
            .expired = w.expired ? &expired : NULL};
    return STATUS_OK;
}

static enum status authority_read(struct database *db, const int *shards, size_t count,
                                  struct shard_view *ret_views)
{
    (void)db;
    for (size_t i = 0; i < count; i++)
        ret_views[i] = (struct shard_view){.shard = shards[i], .epoch = 1, .active = true};
    return STATUS_OK;
}

static const char *sqlstate(const struct database *db)
{
    (void)db;
    return w.sqlstate;
}

/* --- one Extend --------------------------------------------------------------------------------- */

static void done(struct op *op)
{
    struct one *one = container_of(op, struct one, op.op);

    cr_assert(!one->done, "it is answered once");
    one->done = true;
}

static void release(struct op *op)
{
    container_of(op, struct one, op.op)->released = true;
}

static void set_up(void)
{
    static struct hold_meter meter = {.units = 10};
    static struct hold_quota quota = {.quota = {1, 0}, .lease_id = LEASE + 2, .units = 10};

    w = (struct world){.facts_status = STATUS_UNAVAILABLE};
    memset(ones, 0, sizeof(ones));
    meter.meter = SLICE("tokens");
    held = (struct hold){.attempt = {1, 3},
                         .deadline_ms = NOW + HELD_MS,
                         .created_ms = NOW - 1000,
                         .mode = 1,
                         .meters_count = 1,
                         .meters = &meter,
                         .quotas_count = 1,
                         .quotas = &quota};
    arena_init(&arena, 4096, 1 << 24);
    p = pretend_begin();
    clock_manual_init(&manual_clock, 1000000, NOW);
    p->services.clock = &manual_clock.clock;
    p->services.options.ttl_max_ms = 900000;
    p->services.options.lifetime_max_ms = 86400000;
    p->services.options.lease_min_ms = 60000;
    estimate_observe(&p->estimate, NOW, 1000000, 1000000);
    p->redis = redis;
    p->table.grant_run = grant_run;
    p->table.facts_read = facts_read;
    p->table.authority_read = authority_read;
    p->table.database_sqlstate = sqlstate;
    granting = (struct granting){.stores = p->stores, .quick = true, .collect = collect};
}

static void tear_down(void)
{
    arena_done(&arena);
    pretend_end(p);
}

TestSuite(extend, .init = set_up, .fini = tear_down);

static struct op_extend *make(int i, int64_t tenant_id, bool token, int64_t max_ttl_ms)
{
    struct limit limit = {.limit_id = 1, .name = SLICE("all"), .meter = SLICE("tokens"),
                          .period = PERIOD_NEVER, .amount = 100, .cap = 100,
                          .max_ttl_ms = max_ttl_ms};
    struct plan plan = {.tenant_id = tenant_id, .tenant = SLICE("tenant"), .shard = i,
                        .limits_count = 1, .limits = &limit};
    struct one *one = &ones[i];

    one->token = (struct token){.tenant = plan.tenant, .job_id = SLICE("job"), .hold = held};
    one->op = (struct op_extend){
        .op = {.done = done, .release = release, .services = &p->services, .arena = &arena,
               .plan = plan_create(&plan), .tenant = plan.tenant, .give_up_us = INT64_MAX},
        .token = token ? &one->token : NULL,
        .job_id = SLICE("job"),
        .ttl_ms = TTL_MS,
    };
    return &one->op;
}

static const struct op_extend *extend_one(bool token)
{
    struct op_extend *op = make(0, TENANT, token, 0);

    cr_assert_eq(extend_ops(&granting, &op, 1), 0);
    cr_assert(ones[0].done && ones[0].released);
    return op;
}

static void expect_ok(const struct op_extend *op, bool degraded)
{
    cr_assert_eq(op->op.error.failure, FAILURE_NONE, "%s", op->op.error.text);
    cr_assert_geq(op->hold->deadline_ms, NOW + TTL_MS, "%" PRId64 " ms short",
                  NOW + TTL_MS - op->hold->deadline_ms);
    cr_assert_eq(op->hold->attempt.seq, held.attempt.seq);
    cr_assert_eq(op->degraded, degraded);
    cr_assert_eq(w.undone, 0);
}

static void expect_error(const struct op_extend *op, enum failure failure, bool unknown)
{
    cr_assert_eq(op->op.error.failure, failure, "failure %d: %s", (int)op->op.error.failure,
                 op->op.error.text ? op->op.error.text : "OK");
    cr_assert_eq(op->op.error.effect_unknown, unknown, "%s", op->op.error.text);
}

/* --- moved where it stands ---------------------------------------------------------------------- */

Test(extend, ok_says_that_the_deadline_moved)
{
    expect_ok(extend_one(true), false);
    cr_assert_eq(w.facts, 1);
    cr_assert_eq(w.grants, 0);
}

Test(extend, by_job_alone_the_newest_attempt_is_meant)
{
    expect_ok(extend_one(false), false);
}

Test(extend, it_ends_at_the_end_of_the_lifetime)
{
    const struct op_extend *op;

    held.created_ms = NOW + 40000 - 86400000;
    op = extend_one(true);
    cr_assert_eq(op->op.error.failure, FAILURE_NONE, "%s", op->op.error.text);
    cr_assert_eq(op->hold->deadline_ms, NOW + 40000);
    cr_assert_eq(op->lifetime_end_ms, NOW + 40000);
}

Test(extend, done_with_another_deadline_is_no_ok)
{
    w.extends[0].moves_ms = -1;
    expect_error(extend_one(true), FAILURE_INTERNAL, true);
}

Test(extend, a_short_lease_is_pushed_and_the_script_runs_again)
{
    w.extends[0].answer = EXTENDED_SHORT;
    w.extends[1] = (struct step){.answer = EXTENDED_DONE, .moves_ms = 1};
    expect_ok(extend_one(true), false);
    cr_assert_eq(w.fills, 1);
    cr_assert_eq(w.pushed_ms, NOW + TTL_MS + 60000);
}

Test(extend, a_lease_that_stays_short_is_contention)
{
    w.extends[0].answer = EXTENDED_SHORT;
    expect_error(extend_one(true), FAILURE_CONTENTION, false);
    cr_assert_eq(held.deadline_ms, NOW + HELD_MS);
}

Test(extend, a_short_lease_of_a_quota_that_is_gone_says_so)
{
    w.extends[0].answer = EXTENDED_SHORT;
    w.missing = true;
    expect_error(extend_one(true), FAILURE_NO_LIMIT, false);
    cr_assert_eq(w.extends_count, 1, "it is not asked again and again");
}

Test(extend, a_hold_past_its_deadline_has_expired)
{
    w.extends[0].answer = EXTENDED_DUE;
    expect_error(extend_one(true), FAILURE_EXPIRED, false);
}

/* --- ended -------------------------------------------------------------------------------------- */

Test(extend, a_committed_job_is_told_so_and_its_hold_goes)
{
    w.committed_from = 1;
    expect_error(extend_one(true), FAILURE_COMMITTED, false);
    cr_assert(w.undone == 1 && w.undone_committed);
}

Test(extend, a_released_attempt_is_told_so_and_its_hold_goes)
{
    w.fenced_from = 1;
    expect_error(extend_one(true), FAILURE_RELEASED, false);
    cr_assert(w.undone == 1 && !w.undone_committed);
}

Test(extend, nothing_known_by_job_alone_is_an_unknown_job)
{
    w.extends[0].answer = EXTENDED_ABSENT;
    expect_error(extend_one(false), FAILURE_UNKNOWN_JOB, false);
}

Test(extend, an_expired_hold_by_job_alone_has_expired)
{
    w.extends[0].answer = EXTENDED_ABSENT;
    w.expired = true;
    expect_error(extend_one(false), FAILURE_EXPIRED, false);
}

Test(extend, a_token_past_its_deadline_of_a_hold_that_is_gone_has_expired)
{
    held.deadline_ms = NOW;
    w.extends[0].answer = EXTENDED_ABSENT;
    expect_error(extend_one(true), FAILURE_EXPIRED, false);
}

/* --- to stand again: what Redis lost ------------------------------------------------------------ */

static void lose(void)
{
    w.extends[0].answer = EXTENDED_ABSENT;
}

Test(extend, a_lost_hold_stands_again)
{
    lose();
    expect_ok(extend_one(true), false);
    cr_assert_eq(w.retakes_count, 1);
    cr_assert_eq(w.facts, 2, "before and after it is written");
}

Test(extend, a_lost_hold_without_room_is_kept_where_it_was)
{
    lose();
    w.retakes[0].answer = RETAKEN_SHORT;
    w.no_room = w.kept = true;
    expect_ok(extend_one(true), false);
    cr_assert_eq(w.kept_lease_id, LEASE + 2);
    cr_assert(!w.kept_shown, "there is nothing in Redis to be moved");
}

Test(extend, a_lost_hold_without_room_and_without_its_lease_is_no_ok)
{
    lose();
    w.retakes[0].answer = RETAKEN_SHORT;
    w.no_room = true;
    expect_error(extend_one(true), FAILURE_CONTENTION, false);
}

Test(extend, a_lost_hold_beside_another_attempt_is_kept_where_it_was)
{
    lose();
    w.retakes[0].answer = RETAKEN_OTHER;
    w.kept = true;
    expect_ok(extend_one(true), false);
}

Test(extend, a_lost_hold_beside_another_attempt_and_without_its_lease_is_no_ok)
{
    lose();
    w.retakes[0].answer = RETAKEN_OTHER;
    expect_error(extend_one(true), FAILURE_CONTENTION, false);
}

Test(extend, a_lost_hold_of_a_quota_that_is_gone_is_no_ok)
{
    lose();
    w.missing = true;
    expect_error(extend_one(true), FAILURE_NO_LIMIT, false);
    cr_assert_eq(w.retakes_count, 0);
}

Test(extend, a_lost_hold_whose_epoch_keeps_changing_is_no_ok)
{
    lose();
    w.epoch_changed = true;
    expect_error(extend_one(true), FAILURE_CONTENTION, false);
}

Test(extend, a_lease_whose_key_is_lost_is_set_aside_for_the_hold)
{
    lose();
    w.retakes[0].answer = RETAKEN_SHORT;
    w.retakes[1] = (struct step){.answer = RETAKEN_DONE, .moves_ms = 1};
    w.took = TOTALS_VANISHED;
    expect_ok(extend_one(true), false);
    cr_assert_eq(w.vanished_lease_id, LEASE + 5);
}

Test(extend, a_lost_hold_that_ended_meanwhile_is_taken_back)
{
    lose();
    w.fenced_from = 2;
    expect_error(extend_one(true), FAILURE_RELEASED, false);
    cr_assert_eq(w.undone, 1);
}

Test(extend, an_end_is_told_before_a_lack_of_room)
{
    lose();
    w.retakes[0].answer = RETAKEN_OTHER;
    w.fenced_from = 2;
    expect_error(extend_one(true), FAILURE_RELEASED, false);
}

Test(extend, a_retake_that_redis_does_not_answer_may_have_happened)
{
    lose();
    w.retakes[0].status = STATUS_UNKNOWN;
    expect_error(extend_one(true), FAILURE_REDIS_UNAVAILABLE, true);
}

/* --- to stand again: under leases that end ------------------------------------------------------ */

static void age(void)
{
    w.extends[0].answer = EXTENDED_OLD_LEASE;
    w.extends[1] = (struct step){.answer = EXTENDED_DONE, .moves_ms = 1};
}

Test(extend, a_hold_under_an_old_lease_takes_a_new_one)
{
    age();
    expect_ok(extend_one(true), false);
    cr_assert_eq(w.retakes_count, 1);
    cr_assert_eq(w.extends_count, 1);
}

Test(extend, a_hold_under_an_old_lease_without_room_goes_on_under_it)
{
    age();
    w.retakes[0].answer = RETAKEN_SHORT;
    w.no_room = w.kept = true;
    expect_ok(extend_one(false), false);
    cr_assert(w.kept_shown);
    cr_assert_eq(w.kept_lease_id, LEASE + 2);
}

Test(extend, a_hold_under_an_old_lease_without_room_that_is_over_is_no_ok)
{
    age();
    w.retakes[0].answer = RETAKEN_SHORT;
    w.no_room = true;
    expect_error(extend_one(false), FAILURE_CONTENTION, false);
    cr_assert(!w.kept_shown);
}

Test(extend, a_hold_under_an_old_lease_that_is_another_by_now_is_no_ok)
{
    age();
    w.retakes[0].answer = RETAKEN_OTHER;
    w.kept = true;
    expect_error(extend_one(false), FAILURE_CONTENTION, false);
}

Test(extend, a_hold_under_an_old_lease_that_expires_meanwhile_has_expired)
{
    age();
    w.extends[1].answer = EXTENDED_DUE;
    w.retakes[0].answer = RETAKEN_SHORT;
    w.no_room = w.kept = true;
    expect_error(extend_one(false), FAILURE_EXPIRED, false);
}

Test(extend, a_hold_under_an_old_lease_of_a_quota_that_is_gone_is_no_ok)
{
    age();
    w.missing = true;
    expect_error(extend_one(false), FAILURE_NO_LIMIT, false);
}

/* --- without the database ----------------------------------------------------------------------- */

static void part_with_the_database(int from)
{
    w.facts_down_from = from;
    w.grant_status = STATUS_UNAVAILABLE;
}

Test(extend, a_hold_that_stands_is_extended_without_the_database)
{
    part_with_the_database(1);
    expect_ok(extend_one(true), true);
    cr_assert_eq(w.collected, 1, "what this server had acknowledged was told to Redis");
    cr_assert_eq(w.look_moved, 1, "and then it still stood");
}

Test(extend, an_error_of_long_ago_is_not_taken_for_the_answer)
{
    part_with_the_database(1);
    snprintf(w.sqlstate, sizeof(w.sqlstate), "42P01");
    expect_ok(extend_one(true), true);
}

Test(extend, a_hold_that_this_server_released_is_not_extended_without_the_database)
{
    part_with_the_database(1);
    w.gone_after_collect = true;
    expect_error(extend_one(true), FAILURE_POSTGRES_UNAVAILABLE, false);
}

Test(extend, without_the_database_nothing_stands_again)
{
    part_with_the_database(1);
    lose();
    expect_error(extend_one(true), FAILURE_POSTGRES_UNAVAILABLE, false);
    cr_assert_eq(w.retakes_count, 0);
}

Test(extend, without_the_database_no_lease_is_pushed)
{
    part_with_the_database(1);
    w.extends[0].answer = EXTENDED_SHORT;
    expect_error(extend_one(true), FAILURE_POSTGRES_UNAVAILABLE, false);
    cr_assert_eq(held.deadline_ms, NOW + HELD_MS);
}

Test(extend, a_lost_hold_that_nobody_can_vouch_for_is_taken_back)
{
    part_with_the_database(2);
    w.grant_status = STATUS_OK;
    lose();
    expect_error(extend_one(true), FAILURE_POSTGRES_UNAVAILABLE, true);
    cr_assert(w.undone == 1 && !w.undone_committed);
}

Test(extend, a_script_that_did_not_run_is_redis_unavailable)
{
    w.extends[0].status = STATUS_UNAVAILABLE;
    expect_error(extend_one(true), FAILURE_REDIS_UNAVAILABLE, false);
    w.extends[0].status = STATUS_UNKNOWN;
    w.extends_count = 0;
    memset(ones, 0, sizeof(ones));
    expect_error(extend_one(true), FAILURE_REDIS_UNAVAILABLE, true);
}

/* --- many tenants at once ------------------------------------------------------------------------- */

static void extend_all(size_t left)
{
    struct op_extend *ops[OPS_MAX];

    for (int i = 0; i < OPS_MAX; i++)
        ops[i] = make(i, TENANT + i, true, 0);
    cr_assert_eq(extend_ops(&granting, ops, OPS_MAX), left);
    for (size_t i = 0; i < left; i++) {
        struct one *one = container_of(ops[i], struct one, op);

        cr_assert(!one->done, "it waits");
        op_finish(&ops[i]->op);
    }
}

static void expect_all_but(int but, enum failure failure)
{
    for (int i = 0; i < OPS_MAX; i++) {
        if (i == but)
            expect_error(&ones[i].op, failure, ones[i].op.op.error.effect_unknown);
        else
            expect_ok(&ones[i].op, false);
    }
}

Test(extend, a_tenant_whose_push_is_an_error_is_alone_with_it)
{
    for (int i = 0; i < OPS_MAX; i++)
        w.extends[i].answer = EXTENDED_SHORT;
    w.extends[OPS_MAX] = (struct step){.answer = EXTENDED_DONE, .moves_ms = 1};
    w.refused_tenant = TENANT + 3;
    snprintf(w.sqlstate, sizeof(w.sqlstate), "22003");
    extend_all(0);
    expect_all_but(3, FAILURE_INTERNAL);
}

Test(extend, a_tenant_whose_retake_is_an_error_is_alone_with_it)
{
    lose();
    w.refused_tenant = TENANT + 1;
    snprintf(w.sqlstate, sizeof(w.sqlstate), "22003");
    extend_all(0);
    expect_all_but(1, FAILURE_INTERNAL);
}

Test(extend, a_tenant_whose_record_is_an_error_is_alone_with_it)
{
    w.facts_refused_tenant = TENANT + 4;
    extend_all(0);
    expect_all_but(4, FAILURE_INTERNAL);
    cr_assert(ones[4].op.op.error.effect_unknown, "it may be extended");
}

Test(extend, a_tenant_with_locked_rows_waits_alone)
{
    for (int i = 0; i < OPS_MAX; i++)
        w.extends[i].answer = EXTENDED_SHORT;
    w.extends[OPS_MAX] = (struct step){.answer = EXTENDED_DONE, .moves_ms = 1};
    w.locked_tenant = TENANT + 2;
    extend_all(1);
    expect_all_but(2, FAILURE_NONE);
    cr_assert_null(ones[2].op.hold);
    cr_assert_eq(w.grants, 2, "once without it");
    cr_assert(aside_has(p->services.aside, TENANT + 2, services_mono_us(&p->services)));
}

Test(extend, a_lost_hold_of_a_tenant_with_locked_rows_waits_alone)
{
    lose();
    w.locked_tenant = TENANT + 2;
    extend_all(1);
    expect_all_but(2, FAILURE_NONE);
    cr_assert_null(ones[2].op.hold);
}

/* --- how long ----------------------------------------------------------------------------------- */

static void expect_capped(bool token)
{
    struct op_extend *op = make(0, TENANT, token, 45000);

    cr_assert_eq(extend_ops(&granting, &op, 1), 0);
    cr_assert_eq(op->op.error.failure, FAILURE_NONE, "%s", op->op.error.text);
    cr_assert_eq(op->hold->deadline_ms, NOW + 45000);
}

Test(extend, a_limit_bounds_the_ttl_of_an_extend_too)
{
    expect_capped(true);
    cr_assert_eq(w.extends_count, 1);
}

Test(extend, a_limit_bounds_the_ttl_also_by_job_alone)
{
    expect_capped(false);
    cr_assert_eq(w.look_moved, 1, "which limits it has, the hold says");
}
