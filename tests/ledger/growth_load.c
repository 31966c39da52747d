/*
 * How fast what is over goes: rows a second of each step of the janitor, alone, on tables of some size.
 *
 *     tests/support/with_stores --seconds 900 build/tests/ledger/ledger_growth_load [rows [batch]]
 *
 * For each table `rows` rows are past their time and as many are not. Each figure is of the function that
 * the janitor calls, in batches as it does (500 where none is given; deletions 2,000). Beside it stands what
 * the statement costs at the end, when all that was deleted before is dead and not vacuumed.
 */
#include "base/clock.h"
#include "ledger/ledger.h"
#include "tests/ledger/support.h"
#include "tests/support/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { TENANTS = 1000, TURNS_MAX = 100000 };

static struct database *db;
static int64_t rows_wanted;

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

static void quietly(const char *table)
{
    fixture_sql_do("ALTER TABLE %s SET (autovacuum_enabled = false)", table);
    fixture_sql_do("ANALYZE %s", table);
}

static void make_tenants(void)
{
    fixture_sql_do("INSERT INTO shard_authority (shard, epoch, state) SELECT n, 1, 'A'"
                   " FROM generate_series(0, 255) n ON CONFLICT DO NOTHING");
    fixture_sql_do("INSERT INTO tenant (name, shard, config_position) SELECT 'tenant-' || n, n %% 256,"
                   " n FROM generate_series(1, %d) n", TENANTS);
    fixture_sql_do("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
                   " soft_percent, overage_kind, overage, cap, soft) SELECT tenant_id, 'minute', '',"
                   " 'tokens', 2, false, 1000, 90, 0, 0, 1000, 900 FROM tenant");
}

/* Minutes of all tenants: the newest ended `ended_ms` ago; columns and values beside the key. */
static void make_quotas(int64_t rows, int64_t ended_ms, const char *columns, const char *values)
{
    fixture_sql_do(
        "INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms, limit_amount,"
        " cap_amount, soft_amount, unlimited, %s) SELECT l.tenant_id, l.limit_id, e.ends - 60000,"
        " e.ends, 1000, 1000, 900, false, %s FROM generate_series(0, %" PRId64 ") m,"
        " LATERAL (SELECT (%" PRId64 " - m * 60000) / 60000 * 60000 AS ends) e, limit_ l",
        columns, values, rows / TENANTS - 1, support_now_ms() - ended_ms);
}

static void say(const char *step, int64_t rows, int64_t turns, int64_t took_us, int64_t longest_us)
{
    printf("%-22s %9" PRId64 " rows in %6" PRId64 " turns: %8.0f rows/s, a turn %6.1f ms, at most %6.1f\n",
           step, rows, turns, (double)rows * 1e6 / (double)took_us,
           (double)took_us / 1000 / (double)turns, (double)longest_us / 1000);
    fflush(stdout);
}

struct step {
    const char *name;
    enum status (*turn)(size_t batch, bool *ret_more);
    const char *count; /* rows that are left to do */
    size_t batch;
};

static void measure(const struct step *step, size_t batch)
{
    int64_t left = fixture_sql("%s", step->count), longest_us = 0, took_us = 0, turns = 0;
    bool more = true;

    while (more && turns < TURNS_MAX) {
        int64_t began_us = now_us(), turn_us;

        CHECK(step->turn(batch ? batch : step->batch, &more) == STATUS_OK);
        turn_us = now_us() - began_us;
        took_us += turn_us;
        longest_us = turn_us > longest_us ? turn_us : longest_us;
        turns++;
    }
    say(step->name, left - fixture_sql("%s", step->count), turns, took_us, longest_us);
}

static enum status close_leases(size_t batch, bool *ret_more)
{
    return ledger_close_leases(db, batch, ret_more);
}

static enum status close_periods(size_t batch, bool *ret_more)
{
    return ledger_close_periods(db, batch, ret_more);
}

static enum status follow(size_t batch, bool *ret_more)
{
    struct arena arena;
    enum status status;

    arena_init(&arena, 1 << 20, 1 << 28);
    status = ledger_periods_follow(db, &arena, batch, ret_more);
    arena_done(&arena);
    return status;
}

static enum status events(size_t batch, bool *ret_more)
{
    return ledger_retention(db, KEPT_EVENTS, 86400000, batch, ret_more);
}

static enum status fences(size_t batch, bool *ret_more)
{
    return ledger_retention(db, KEPT_FENCES, 0, batch, ret_more);
}

static enum status expired(size_t batch, bool *ret_more)
{
    return ledger_retention(db, KEPT_EXPIRED, 0, batch, ret_more);
}

static enum status periods(size_t batch, bool *ret_more)
{
    return ledger_retention(db, KEPT_PERIODS, 0, batch, ret_more);
}

static void fill_jobs(void)
{
    fixture_sql_do("INSERT INTO event (tenant_id, seq, kind, job_id, at) SELECT n %% %d + 1, n / %d + 1,"
                   " 6, 'job-' || n, clock_timestamp() - interval '2 days' + n * interval '2 days'"
                   " / %" PRId64 " FROM generate_series(0, %" PRId64 ") n",
                   TENANTS, TENANTS, 2 * rows_wanted, 2 * rows_wanted - 1);
    fixture_sql_do("UPDATE tenant SET event_seq = 2 * %" PRId64, rows_wanted);
    quietly("event");
    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) SELECT"
                   " n %% %d + 1, md5(n::text), 1, n, clock_timestamp() - interval '1 day' + n"
                   " * interval '2 days' / %" PRId64 " FROM generate_series(0, %" PRId64 ") n",
                   TENANTS, 2 * rows_wanted, 2 * rows_wanted - 1);
    quietly("job_fence");
    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) SELECT tenant_id, job_id, epoch, hold_seq,"
                   " '1:1:1764000060000:1764000000000||1|tokens=5|0:1:1764000000000:1048576:5:905', 1,"
                   " purge_after FROM job_fence");
    quietly("expired_hold");
}

static void fill_quotas(void)
{
    const int64_t day_ms = 86400000;

    make_quotas(rows_wanted, 8 * day_ms, "state, followed", "'X', true");
    make_quotas(rows_wanted, 27 * 3600000, "committed, ledger_seq, followed, lease_id, granted, spent,"
                " leased", "500, 9, true, 1048577, 600, 500, 100");
    make_quotas(TENANTS * 20, 60000, "committed, ledger_seq, level", "950, 9, 1");
    fixture_sql_do("INSERT INTO old_lease SELECT tenant_id, limit_id, period_start_ms, 1048576, 10, 0, 0,"
                   " 5 FROM quota WHERE NOT followed");
    fixture_sql_do("UPDATE quota SET leased = 10 WHERE NOT followed");
    quietly("quota");
    quietly("old_lease");
}

int main(int argc, char **argv)
{
    static const struct step steps[] = {
        {"close old leases", close_leases, "SELECT count(*) FROM old_lease", 512},
        {"follow periods", follow, "SELECT count(*) FROM quota WHERE NOT followed AND level > 0", 512},
        {"close periods", close_periods,
         "SELECT count(*) FROM quota WHERE state <> 'X' AND followed AND ledger_seq > 0", 512},
        {"delete periods", periods, "SELECT count(*) FROM quota WHERE state = 'X'", 2000},
        {"delete events", events, "SELECT count(*) FROM event", 2000},
        {"delete fences", fences, "SELECT count(*) FROM job_fence", 2000},
        {"delete expired holds", expired, "SELECT count(*) FROM expired_hold", 2000},
    };
    size_t batch = argc > 2 ? (size_t)atoi(argv[2]) : 0;

    rows_wanted = argc > 1 ? atoi(argv[1]) : 1000000;
    db = support_open();
    make_tenants();
    fill_quotas();
    fill_jobs();
    printf("%d tenants; of each table %" PRId64 " rows are past their time\n", TENANTS, rows_wanted);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        measure(&steps[i], batch);
    database_destroy(db);
    return 0;
}
