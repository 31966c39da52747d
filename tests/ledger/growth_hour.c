/*
 * Do the tables stay flat? Commits at a steady rate under limits a minute, with everything that time does
 * done as the janitor does it, in one process:
 *
 *     tests/support/with_stores --seconds 4000 \
 *         build/tests/ledger/ledger_growth_hour [seconds [rate [tenants]]]
 *
 * An hour, 5,000 a second and 1,000 tenants where nothing is given. Rows that are past their time come at
 * the rate at which a steady state of a week would have them come, since nobody waits a week: each second a
 * tenth of the rate in each of event, job_fence and expired_hold, and as many quota rows to be closed, and to
 * be deleted, as minutes begin.
 *
 * Prints a line per table each minute (each tenth of a run that is shorter): live and dead rows as Postgres
 * counts them, MB, and how many rows wait to go. The last line says whether they stayed flat: at the end no
 * table but the ledger has more than twice the rows that wait, or the size, that it had after a fifth of the
 * time.
 */
#include "base/clock.h"
#include "ledger/committer.h"
#include "ledger/ledger.h"
#include "tests/ledger/support.h"
#include "tests/support/fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 1024, FEED_SHARE = 10, MINUTE_MS = 60000 };
#define AMOUNT (INT64_C(1) << 40)

struct account {
    int64_t tenant_id, limit_id;
    struct plan *plan;
    struct quota_ref ref;
    int64_t lease_id;
};

struct slot {
    struct commit_item item;
    struct arena arena;
    struct hold hold;
    struct hold_meter meter;
    struct hold_quota quota;
    char job_id[40];
    _Atomic bool busy;
};

static int64_t seconds = 3600, rate = 5000, tenants = 1000;
static struct committer *committer;
static struct database *db;
static struct account *accounts;
static struct slot slots[SLOTS];
static int64_t submitted, minute_ms;
static _Atomic int64_t commits, failures;
static _Atomic int64_t
    steps_failed; /* of the house: each is tried again with the next turn, as the janitor does */
static _Atomic bool stop;

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

/* --- commits -------------------------------------------------------------------------------------- */

static void make_accounts(void)
{
    fixture_sql_do("INSERT INTO shard_authority (shard, epoch, state) VALUES (0, 1, 'A')");
    fixture_sql_do("INSERT INTO tenant (name, shard, config_position) SELECT 'tenant-' || n, 0, n"
                   " FROM generate_series(1, %" PRId64 ") n",
                   tenants);
    fixture_sql_do(
        "INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
        " soft_percent, overage_kind, overage, cap, soft) SELECT tenant_id, 'minute', '',"
        " 'tokens', 2, false, %" PRId64 ", 90, 0, 0, %" PRId64 ", %" PRId64 " FROM tenant",
        AMOUNT, AMOUNT, AMOUNT - AMOUNT / 10);
    accounts = calloc((size_t)tenants, sizeof(*accounts));
    CHECK(accounts);
    for (int64_t i = 0; i < tenants; i++) {
        char name[32];

        snprintf(name, sizeof(name), "tenant-%" PRId64, i + 1);
        CHECK(ledger_plan_load(db, slice_from_cstr(name), &accounts[i].plan) == STATUS_OK);
        CHECK(accounts[i].plan && accounts[i].plan->limits_count == 1);
        accounts[i].tenant_id = accounts[i].plan->tenant_id;
        accounts[i].limit_id = accounts[i].plan->limits[0].limit_id;
    }
}

/* A lease for each tenant in the minute that has begun, as the first Reserve would get it. */
static void begin_minute(int64_t start_ms)
{
    struct arena arena;
    struct ledger_grant *grants;
    int64_t now_ms;

    arena_init(&arena, 1 << 20, 1 << 28);
    grants = arena_array(&arena, (size_t)tenants, sizeof(*grants));
    CHECK(grants);
    for (int64_t i = 0; i < tenants; i++)
        grants[i] = (struct ledger_grant){
            .tenant_id = accounts[i].tenant_id,
            .epoch = 1,
            .ref = {accounts[i].limit_id, start_ms},
            .needed = AMOUNT / 4,
            .deadline_ms = start_ms + 30 * MINUTE_MS,
        };
    CHECK(ledger_grant_run(db, &arena, grants, (size_t)tenants, &now_ms) == STATUS_OK);
    for (int64_t i = 0; i < tenants; i++) {
        accounts[i].ref = (struct quota_ref){accounts[i].limit_id, start_ms};
        accounts[i].lease_id = grants[i].quota.lease_id;
    }
    arena_done(&arena);
    minute_ms = start_ms;
}

static void submit(struct slot *slot, int64_t now_ms)
{
    const struct account *account = &accounts[submitted % tenants];

    arena_reset(&slot->arena);
    memset(&slot->item, 0, sizeof(slot->item));
    snprintf(slot->job_id, sizeof(slot->job_id), "job-%" PRId64, submitted);
    slot->meter = (struct hold_meter){SLICE("tokens"), 5};
    slot->quota =
        (struct hold_quota){.quota = account->ref, .lease_id = account->lease_id, .units = 5};
    slot->hold = (struct hold){
        .attempt = {.epoch = 1, .seq = submitted},
        .deadline_ms = now_ms + MINUTE_MS,
        .created_ms = now_ms,
        .mode = 1,
        .meters_count = 1,
        .meters = &slot->meter,
        .quotas_count = 1,
        .quotas = &slot->quota,
    };
    slot->item.plan = account->plan;
    slot->item.arena = &slot->arena;
    slot->item.give_up_us = now_us() + 30000000;
    slot->item.settle.tenant_id = account->tenant_id;
    slot->item.settle.job_id = slice_from_cstr(slot->job_id);
    slot->item.settle.token = &slot->hold;
    slot->busy = true;
    submitted++;
    CHECK(committer_submit(committer, &slot->item));
}

static void on_done(void *user, struct commit_item *const *items, size_t count)
{
    (void)user;
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = container_of(items[i], struct slot, item);

        if (items[i]->status == STATUS_OK && items[i]->settle.outcome == SETTLE_COMMITTED)
            commits++;
        else
            failures++;
        slot->busy = false;
    }
}

/* --- what the janitor does ------------------------------------------------------------------------ */

static bool worked(enum status status)
{
    steps_failed += status != STATUS_OK;
    return status == STATUS_OK;
}

static void repeat_close(struct database *own)
{
    bool more = true;

    while (more && !stop)
        if (!worked(ledger_close_periods(own, 512, &more)))
            break;
    for (more = true; more && !stop;)
        if (!worked(ledger_close_leases(own, 512, &more)))
            break;
}

static void repeat_follow(struct database *own, struct arena *arena)
{
    bool more = true;

    for (; more && !stop; arena_reset(arena))
        if (!worked(ledger_periods_follow(own, arena, 512, &more)))
            return; /* a deadlock or a lock; the next second does it */
}

static void repeat_retention(struct database *own)
{
    for (enum ledger_kept what = 0; what < KEPT_COUNT; what++)
        for (bool more = true; more && !stop;)
            if (!worked(ledger_retention(own, what, 7 * INT64_C(86400000), 2000, &more)))
                break;
}

static void *keep_house(void *user)
{
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct arena arena;

    (void)user;
    arena_init(&arena, 1 << 20, 1 << 28);
    for (int turn = 0; !stop; turn++) {
        repeat_follow(own, &arena);
        repeat_close(own);
        if (turn % 10 == 0)
            repeat_retention(own);
        usleep(1000000);
    }
    arena_done(&arena);
    database_destroy(own);
    return NULL;
}

/* --- what a week ago would have left ---------------------------------------------------------------- */

static void feed(int64_t nth)
{
    int64_t rows = rate / FEED_SHARE;

    fixture_sql_do("INSERT INTO event (tenant_id, seq, kind, job_id, at) SELECT -(n %% %" PRId64
                   ") - 1, %" PRId64 " + n / %" PRId64 " + 1, 6, 'old-' || n, clock_timestamp()"
                   " - interval '7 days' FROM generate_series(0, %" PRId64 ") n",
                   tenants, nth * (rows / tenants + 1), tenants, rows - 1);
    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) SELECT"
                   " n %% %" PRId64 " + 1, md5(random()::text), 1, n, clock_timestamp()"
                   " FROM generate_series(1, %" PRId64 ") n",
                   tenants, rows);
    fixture_sql_do(
        "INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
        " purge_after) SELECT n %% %" PRId64 " + 1, md5(random()::text), 1, n,"
        " '1:1:1764000060000:1764000000000||1|tokens=5|0:1:1764000000000:1048576:5:905', 1,"
        " clock_timestamp() FROM generate_series(1, %" PRId64 ") n",
        tenants, rows);
}

static void feed_minute(int64_t start_ms)
{
    const int64_t day_ms = 86400000;

    fixture_sql_do(
        "INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms, limit_amount,"
        " cap_amount, soft_amount, unlimited, followed, state) SELECT tenant_id, limit_id, t,"
        " t + 60000, amount, cap, soft, false, true, s FROM limit_, (VALUES (%" PRId64
        "::bigint, 'O'::\"char\"), (%" PRId64 "::bigint, 'X')) v (t, s)"
        " ON CONFLICT DO NOTHING",
        start_ms - day_ms - 11 * MINUTE_MS, start_ms - 7 * day_ms - MINUTE_MS);
}

/* --- what it comes to ------------------------------------------------------------------------------- */

static const char *const tables[] = {"quota",        "event",     "job_fence",
                                     "expired_hold", "old_lease", "tenant"};
enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

struct look {
    int64_t live, dead, kb;
} first[TABLES], last[TABLES];

static void look_at(struct look *looks, int64_t elapsed_s)
{
    printf("%6" PRId64 " s  commits %9" PRId64 "  failures %" PRId64 "  ledger %" PRId64 " MB\n",
           elapsed_s, (int64_t)commits, (int64_t)failures,
           fixture_sql("SELECT sum(pg_total_relation_size(relid)) / 1048576"
                       " FROM pg_partition_tree('ledger')"));
    for (size_t i = 0; i < TABLES; i++) {
        looks[i].live =
            fixture_sql("SELECT n_live_tup FROM pg_stat_user_tables WHERE relname = '%s'",
                        tables[i]);
        looks[i].dead =
            fixture_sql("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = '%s'",
                        tables[i]);
        looks[i].kb = fixture_sql("SELECT pg_total_relation_size('%s') / 1024", tables[i]);
        printf("    %-13s live %9" PRId64 "  dead %9" PRId64 "  %8" PRId64 " KB\n", tables[i],
               looks[i].live, looks[i].dead, looks[i].kb);
    }
    fflush(stdout);
}

/*
 * Quota rows are made and kept for a day and a week: only their dead rows count. Of events those of the run,
 * one per tenant and minute, are kept for a week.
 */
static bool stayed_flat(void)
{
    bool flat = failures == 0;

    for (size_t i = 0; i < TABLES; i++) {
        int64_t slack_rows = 4 * rate, slack_kb = 16 * 1024;
        bool is_quota = strcmp(tables[i], "quota") == 0;

        if (strcmp(tables[i], "event") == 0)
            slack_rows += tenants * (seconds / 60 + 1);
        flat = flat && last[i].dead <= 2 * first[i].dead + 40 * rate;
        if (!is_quota)
            flat = flat && last[i].live <= 2 * first[i].live + slack_rows &&
                   last[i].kb <= 2 * first[i].kb + slack_kb;
    }
    return flat;
}

static void run(void)
{
    int64_t began_us = now_us(), period_s = seconds >= 600 ? 60 : seconds / 10 + 1, looked = 0,
            fed = 0;
    bool has_first = false;

    for (int64_t elapsed_us = 0; elapsed_us < seconds * 1000000; elapsed_us = now_us() - began_us) {
        int64_t now_ms = clock_wall_ms(clock_real());
        int64_t start_ms = now_ms - now_ms % MINUTE_MS;

        if (start_ms != minute_ms) {
            begin_minute(start_ms);
            feed_minute(start_ms);
        }
        for (int i = 0; i < SLOTS && submitted < elapsed_us * rate / 1000000; i++)
            if (!slots[i].busy)
                submit(&slots[i], now_ms);
        if (elapsed_us / 1000000 > fed)
            feed(fed++);
        if (elapsed_us / 1000000 >= looked * period_s) {
            look_at(last, elapsed_us / 1000000);
            looked++;
        }
        if (!has_first && elapsed_us > seconds * 200000) {
            memcpy(first, last, sizeof(first));
            has_first = true;
        }
        usleep(1000);
    }
}

int main(int argc, char **argv)
{
    struct estimate estimate;
    struct committer_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
        .clock = clock_real(),
        .estimate = &estimate,
        .late_window_ms = 24 * 3600 * 1000,
        .items_max = SLOTS,
        .lease_ms = MINUTE_MS,
        .done = on_done,
    };
    char error[256];
    pthread_t house;

    seconds = argc > 1 ? atoi(argv[1]) : seconds;
    rate = argc > 2 ? atoi(argv[2]) : rate;
    tenants = argc > 3 ? atoi(argv[3]) : tenants;
    estimate_init(&estimate);
    db = support_open();
    make_accounts();
    for (int i = 0; i < SLOTS; i++)
        arena_init(&slots[i].arena, 4096, 1 << 20);
    committer = committer_create(&options, error, sizeof(error));
    CHECK(committer);
    CHECK(pthread_create(&house, NULL, keep_house, NULL) == 0);
    run();
    look_at(last, seconds);
    stop = true;
    pthread_join(house, NULL);
    committer_destroy(committer);
    database_destroy(db);
    printf("%" PRId64 " commits, %.0f/s, %" PRId64 " failures, %" PRId64 " steps failed: %s\n",
           (int64_t)commits, (double)commits / (double)seconds, (int64_t)failures,
           (int64_t)steps_failed, stayed_flat() ? "flat" : "NOT FLAT");
    return stayed_flat() ? 0 : 1;
}
