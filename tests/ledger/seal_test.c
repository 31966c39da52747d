/* The ledger goes into the chains of its quotas, whoever dies or comes late, and a gap is seen. */
#include "tests/ledger/support.h"

#include "base/fault.h"
#include "ledger/ledger.h"
#include "quota/token_keys.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static struct database *db;
static struct token_keys *keys;
static struct arena arena;
static struct ledger_sealing sealing;

static struct ledger_sealing sealer(void)
{
    return (struct ledger_sealing){.signer = chain_signer_create(keys), .digest = digest_create()};
}

static void fire(struct ledger_sealing *done)
{
    chain_signer_destroy(done->signer);
    digest_destroy(done->digest);
}

static void begin(void)
{
    char error[256];

    db = support_open();
    arena_init(&arena, 65536, SIZE_MAX / 2);
    cr_assert_eq(token_keys_parse(
                     SLICE("1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
                     "test", &keys, error, sizeof(error)),
                 STATUS_OK);
    sealing = sealer();
}

static void end(void)
{
    fault_clear();
    fire(&sealing);
    token_keys_destroy(keys);
    arena_done(&arena);
    database_destroy(db);
}

TestSuite(seal, .init = begin, .fini = end);

/* Entries number from to to of the tenant's quota, each of 3 units, as its Commits would write them. */
static void add(const struct support_tenant *tenant, int from, int to, const char *at)
{
    fixture_sql_do("INSERT INTO ledger SELECT %" PRId64
                   ", 'job-' || n, 0, 1, n, '', 'tokens', 3, 3,"
                   " 0, 3, false, ARRAY[%" PRId64 ", 0, n, 3, 0]::bigint[], %s"
                   " FROM generate_series(%d, %d) n",
                   tenant->tenant_id, tenant->limit_id, at, from, to);
}

static void turn(struct database *on, struct ledger_sealing *by)
{
    enum status status = ledger_seal_run(on, &arena, by);

    cr_assert_eq(status, STATUS_OK, "%s %s", status_name(status), database_error(on));
    arena_reset(&arena);
}

static int64_t of_seal(const struct support_tenant *tenant, const char *column)
{
    return fixture_sql("SELECT coalesce(max(%s), 0) FROM seal WHERE tenant_id = %" PRId64, column,
                       tenant->tenant_id);
}

static const char *digest_of(const struct support_tenant *tenant)
{
    return fixture_sql_text("SELECT encode(digest, 'hex') FROM seal WHERE tenant_id = %" PRId64,
                            tenant->tenant_id);
}

/* Turns until the tenant's seal has come so far: other transactions of the test's programs may run. */
static void seal_to(const struct support_tenant *tenant, int64_t seq)
{
    int64_t end_ms = support_now_ms() + 20000;

    do {
        turn(db, &sealing);
        cr_assert_lt(support_now_ms(), end_ms, "sealed to %" PRId64, of_seal(tenant, "seq"));
    } while (of_seal(tenant, "seq") < seq);
    cr_assert_eq(of_seal(tenant, "seq"), seq);
}

/* Turns until all that was there at the call was looked at. */
static void catch_up(void)
{
    int64_t from_ms = support_now_ms();

    do
        turn(db, &sealing);
    while (sealing.sealed_to_ms < from_ms);
}

Test(seal, entries_are_sealed_with_their_sums_and_signed)
{
    struct support_tenant tenant = support_tenant_make("s-first", 1000, 1000, 0);

    add(&tenant, 1, 10, "clock_timestamp()");
    seal_to(&tenant, 10);
    cr_assert_eq(of_seal(&tenant, "amount"), 30);
    cr_assert_eq(of_seal(&tenant, "number"), 1);
    cr_assert_eq(of_seal(&tenant, "kid"), 1);
    add(&tenant, 11, 12, "clock_timestamp()");
    seal_to(&tenant, 12);
    cr_assert_eq(of_seal(&tenant, "amount"), 36);
    cr_assert_eq(fixture_sql("SELECT seals FROM seal_head WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 1);
}

Test(seal, the_chain_is_that_of_one_who_reads_all_at_once)
{
    struct support_tenant tenant = support_tenant_make("s-steps", 1000, 1000, 0);
    char steps[80];

    for (int i = 1; i <= 5; i++) {
        add(&tenant, i, i, "clock_timestamp()");
        seal_to(&tenant, i);
    }
    snprintf(steps, sizeof(steps), "%s", digest_of(&tenant));
    fixture_sql_do("DELETE FROM seal WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("DELETE FROM seal_head WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("UPDATE seal_state SET sealed_to_ms = %" PRId64, support_now_ms() - 60000);
    seal_to(&tenant, 5);
    cr_assert_str_eq(digest_of(&tenant), steps);
}

Test(seal, one_row_for_each_quota_and_numbers_without_a_gap)
{
    struct support_tenant tenant = support_tenant_make("s-quotas", 1000, 1000, 0);

    fixture_sql_do("INSERT INTO ledger SELECT %" PRId64
                   ", 'job-' || n, 0, 1, n, '', 'tokens', 3, 3,"
                   " 0, 3, false, ARRAY[%" PRId64 ", n * 60000, 1, 3, 0, %" PRId64
                   ", 0, n, 3, 0]::bigint[], clock_timestamp() FROM generate_series(1, 40) n",
                   tenant.tenant_id, tenant.limit_id, tenant.limit_id);
    seal_to(&tenant, 40);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM seal WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 41);
    cr_assert_eq(fixture_sql("SELECT count(DISTINCT number) FROM seal WHERE tenant_id = %" PRId64
                             " AND number BETWEEN 1 AND 41",
                             tenant.tenant_id),
                 41);
    cr_assert_eq(fixture_sql("SELECT seals FROM seal_head WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 41);
}

Test(seal, more_than_a_turn_takes_is_sealed_by_several)
{
    struct support_tenant tenant = support_tenant_make("s-many", 1000, 1000, 0);

    add(&tenant, 1, 25000, "'2026-02-01 00:00:00Z'::timestamptz + n * interval '1 millisecond'");
    fixture_sql_do("UPDATE seal_state SET sealed_to_ms = 0");
    do {
        turn(db, &sealing);
        cr_assert_leq(sealing.sealed, 10000);
    } while (sealing.more);
    seal_to(&tenant, 25000);
    cr_assert_eq(of_seal(&tenant, "amount"), 75000);
}

Test(seal, what_a_transaction_brings_late_is_not_missed)
{
    struct support_tenant tenant = support_tenant_make("s-late", 1000, 1000, 0);
    struct database *slow = support_open();
    struct sql_params params;
    struct arena own;
    PGresult *result;
    static const struct statement lock = {
        "t_lock", "SELECT 1 FROM quota WHERE tenant_id = $1::bigint FOR UPDATE"};
    static const struct statement late = {
        "t_late",
        "INSERT INTO ledger SELECT q.tenant_id, 'late', 0, 1, 1, '', 'tokens', 3, 3, 0, 3, false,"
        " ARRAY[q.limit_id, 0, 1, 3, 0]::bigint[], $2::timestamptz FROM quota q"
        " WHERE q.tenant_id = $1::bigint"};

    arena_init(&own, 1024, SIZE_MAX / 2);
    cr_assert_eq(database_begin(slow), STATUS_OK);
    sql_params_begin(&params, &own);
    sql_add_i64(&params, tenant.tenant_id);
    cr_assert_eq(database_run(slow, &lock, &params, &result), STATUS_OK);
    cr_assert_eq(PQntuples(result), 1);
    PQclear(result);
    sql_add_time_ms(&params, support_now_ms());
    for (int i = 0; i < 5; i++) /* it must not pass the moment that the other has read */
        turn(db, &sealing);
    cr_assert_eq(database_run(slow, &late, &params, NULL), STATUS_OK);
    turn(db, &sealing);
    cr_assert_eq(database_commit(slow), STATUS_OK);
    seal_to(&tenant, 1);
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 0);
    database_destroy(slow);
    arena_done(&own);
}

Test(seal, a_missing_entry_is_a_gap_until_it_is_there)
{
    struct support_tenant tenant = support_tenant_make("s-gap", 1000, 1000, 0);

    add(&tenant, 1, 3, "clock_timestamp()");
    add(&tenant, 5, 8, "clock_timestamp()");
    seal_to(&tenant, 3);
    catch_up();
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 4);
    cr_assert_eq(of_seal(&tenant, "seq"), 3);
    /* Written by a clock that was put back. */
    add(&tenant, 4, 4, "clock_timestamp() - interval '10 minutes'");
    fixture_sql_do("UPDATE seal SET gap_looked_ms = 0 WHERE gap_seq > 0");
    seal_to(&tenant, 8);
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 0);
    cr_assert_eq(of_seal(&tenant, "amount"), 24);
}

/* More entries of others than a turn takes stand before it, and more of its own behind it. */
Test(seal, a_gap_closes_in_a_tenant_that_commits_much)
{
    struct support_tenant tenant = support_tenant_make("s-busy-gap", 1000, 1000, 0);

    add(&tenant, 1, 3, "clock_timestamp()");
    seal_to(&tenant, 3);
    fixture_sql_do("INSERT INTO ledger SELECT %" PRId64
                   ", 'other-' || n, 0, 1, n, '', 'tokens', 3, 3,"
                   " 0, 3, false, ARRAY[%" PRId64 ", 7, n, 3, 0]::bigint[],"
                   " clock_timestamp() - interval '30 minutes' FROM generate_series(1, 10500) n",
                   tenant.tenant_id, tenant.limit_id);
    add(&tenant, 5, 10500, "clock_timestamp()");
    catch_up();
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 4);
    add(&tenant, 4, 4, "clock_timestamp() - interval '10 minutes'");
    fixture_sql_do("UPDATE seal SET gap_looked_ms = 0 WHERE gap_seq > 0");
    seal_to(&tenant, 10500);
    catch_up();
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 0);
    cr_assert_eq(of_seal(&tenant, "amount"), 3 * 10500);
}

/* 400 entries are fewer than a turn takes; of 100 quotas each, they are too much to digest at once. */
Test(seal, entries_of_many_quotas_go_in_parts)
{
    struct support_tenant tenant = support_tenant_make("s-wide", 1000, 1000, 0);
    int turns = 0;

    catch_up();
    fixture_sql_do("INSERT INTO ledger SELECT %" PRId64
                   ", 'wide-' || n, 0, 1, n, '', 'tokens', 3, 3, 0, 3,"
                   " false, (SELECT array_agg(v ORDER BY k, i) FROM generate_series(1, 100) k,"
                   " unnest(ARRAY[1000 + k, 0, n, 3, 0]::bigint[]) WITH ORDINALITY u(v, i)),"
                   " date_trunc('second', clock_timestamp()) - interval '1 ms' * (400 - n)"
                   " + interval '3 s' FROM generate_series(1, 400) n",
                   tenant.tenant_id);
    for (int64_t before = 0; of_seal(&tenant, "seq") < 400;
         turns += of_seal(&tenant, "seq") > before) {
        before = of_seal(&tenant, "seq");
        turn(db, &sealing);
        cr_assert_leq(of_seal(&tenant, "seq") - before, 100);
    }
    cr_assert_gt(turns, 3);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM seal WHERE tenant_id = %" PRId64
                             " AND seq = 400",
                             tenant.tenant_id),
                 100);
}

Test(seal, a_first_entry_that_is_missing_is_a_gap_too)
{
    struct support_tenant tenant = support_tenant_make("s-headless", 1000, 1000, 0);

    add(&tenant, 2, 3, "clock_timestamp()");
    catch_up();
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 1);
    cr_assert_eq(of_seal(&tenant, "seq"), 0);
    cr_assert_eq(of_seal(&tenant, "number"), 1);
}

Test(seal, how_far_it_is_can_be_read)
{
    struct support_tenant tenant = support_tenant_make("s-far", 1000, 1000, 0);
    struct ledger_seals before, after;

    cr_assert_eq(ledger_seals_read(db, &before), STATUS_OK);
    add(&tenant, 2, 2, "clock_timestamp()");
    catch_up();
    cr_assert_eq(ledger_seals_read(db, &after), STATUS_OK);
    cr_assert_eq(after.gaps, before.gaps + 1);
    cr_assert_gt(after.sealed_to_ms, before.sealed_to_ms);
    cr_assert_geq(after.now_ms, after.sealed_to_ms);
}

/* It showed as "57 years behind" until the windows, each twice the last, had gone through them. */
Test(seal, without_an_entry_one_turn_goes_up_to_now)
{
    struct ledger_seals seals;

    fixture_sql_do("TRUNCATE ledger, seal");
    fixture_sql_do("UPDATE seal_state SET sealed_to_ms = 0");
    turn(db, &sealing);
    cr_assert(!sealing.more);
    cr_assert_eq(ledger_seals_read(db, &seals), STATUS_OK);
    cr_assert_gt(seals.sealed_to_ms, 0);
    cr_assert_lt(seals.now_ms - seals.sealed_to_ms, 60000);
}

Test(seal, whoever_dies_before_the_commit_leaves_nothing)
{
    struct support_tenant tenant = support_tenant_make("s-dies", 1000, 1000, 0);

    add(&tenant, 1, 5, "clock_timestamp()");
    catch_up();
    add(&tenant, 6, 9, "clock_timestamp()");
    cr_assert(fault_set("seal.before_commit=fail"));
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ledger_seal_run(db, &arena, &sealing), STATUS_UNAVAILABLE);
    cr_assert_eq(of_seal(&tenant, "seq"), 5);
    fault_clear();
    seal_to(&tenant, 9);
    cr_assert_eq(of_seal(&tenant, "amount"), 27);
}

Test(seal, two_sealers_at_once_seal_everything_once)
{
    struct support_tenant tenant = support_tenant_make("s-two", 1000, 1000, 0);
    struct database *other = support_open();
    struct ledger_sealing second = sealer();

    for (int i = 0; i < 20; i++) {
        add(&tenant, 1 + 5 * i, 5 + 5 * i, "clock_timestamp()");
        turn(i % 2 ? db : other, i % 2 ? &sealing : &second);
        turn(i % 3 ? db : other, i % 3 ? &sealing : &second);
    }
    seal_to(&tenant, 100);
    cr_assert_eq(of_seal(&tenant, "amount"), 300);
    fire(&second);
    database_destroy(other);
}

Test(seal, while_one_is_at_it_the_other_goes_away)
{
    struct database *other = support_open();
    PGresult *result;
    static const struct statement lock = {"t_state", "SELECT 1 FROM seal_state FOR UPDATE"};

    cr_assert_eq(database_begin(other), STATUS_OK);
    cr_assert_eq(database_run(other, &lock, NULL, &result), STATUS_OK);
    PQclear(result);
    sealing.sealed_to_ms = 0;
    turn(db, &sealing);
    cr_assert_eq(sealing.sealed_to_ms, 0);
    database_rollback(other);
    database_destroy(other);
}

Test(seal, a_seal_that_was_changed_is_never_signed_again)
{
    struct support_tenant tenant = support_tenant_make("s-forged", 1000, 1000, 0);

    add(&tenant, 1, 5, "clock_timestamp()");
    seal_to(&tenant, 5);
    fixture_sql_do("UPDATE seal SET amount = amount - 1 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    add(&tenant, 6, 6, "clock_timestamp()");
    seal_to(&tenant, 6);
    cr_assert_eq(of_seal(&tenant, "kid"), 0);
}

Test(seal, a_chain_waits_for_a_key_that_is_not_here)
{
    struct support_tenant tenant = support_tenant_make("s-rotated", 1000, 1000, 0);
    struct token_keys *others;
    char error[256];

    add(&tenant, 1, 5, "clock_timestamp()");
    seal_to(&tenant, 5);
    cr_assert_eq(token_keys_parse(
                     SLICE("2:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"),
                     "test", &others, error, sizeof(error)),
                 STATUS_OK);
    chain_signer_destroy(sealing.signer);
    sealing.signer = chain_signer_create(others);
    add(&tenant, 6, 6, "clock_timestamp()");
    catch_up();
    cr_assert_eq(of_seal(&tenant, "seq"), 5);
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 6);
    cr_assert_eq(of_seal(&tenant, "kid"), 1);
    chain_signer_destroy(sealing.signer);
    sealing.signer = chain_signer_create(keys);
    fixture_sql_do("UPDATE seal SET gap_looked_ms = 0 WHERE gap_seq > 0");
    seal_to(&tenant, 6);
    cr_assert_eq(of_seal(&tenant, "gap_seq"), 0);
    cr_assert_eq(of_seal(&tenant, "kid"), 1);
    token_keys_destroy(others);
}

Test(seal, of_a_head_that_was_changed_no_later_one_is_signed)
{
    struct support_tenant tenant = support_tenant_make("s-head", 1000, 1000, 0);

    add(&tenant, 1, 1, "clock_timestamp()");
    seal_to(&tenant, 1);
    fixture_sql_do("UPDATE seal_head SET seals = 0 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("INSERT INTO ledger SELECT %" PRId64 ", 'other', 0, 1, 2, '', 'tokens', 3, 3,"
                   " 0, 3, false, ARRAY[%" PRId64 ", 60000, 1, 3, 0]::bigint[], clock_timestamp()",
                   tenant.tenant_id, tenant.limit_id);
    catch_up();
    cr_assert_eq(fixture_sql("SELECT kid FROM seal_head WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 0);
}

/* Ranges of pages of the index of times that had no summary, the most of one partition; now all have one. */
static int64_t unsummarized(void)
{
    return fixture_sql("SELECT max(brin_summarize_new_values(inhrelid::regclass)) FROM pg_inherits"
                       " WHERE inhparent = 'ledger_at'::regclass");
}

Test(seal, full_ranges_of_pages_have_a_summary_in_the_index_of_times)
{
    struct support_tenant tenant = support_tenant_make("s-ranges", 1000, 1000, 0);

    catch_up();
    unsummarized();
    add(&tenant, 1, 20000, "clock_timestamp()");
    seal_to(&tenant, 20000);
    cr_assert_leq(unsummarized(), 1, "more than the range that is being filled");
}

Test(seal, a_partition_that_somebody_works_on_is_sealed_without_summaries)
{
    struct support_tenant tenant = support_tenant_make("s-vacuum", 1000, 1000, 0);
    struct database *other = support_open();
    static const struct statement lock = {"t_vacuum",
                                          "LOCK TABLE ledger IN SHARE UPDATE EXCLUSIVE MODE"};
    static const struct statement awake = {"t_awake", "SELECT 1"}; /* idle for 2 s ends it */
    static const struct statement hurry = {"t_hurry", /* as a janitor waits for locks */
                                           "SELECT set_config('lock_timeout', '30ms', false)"};

    catch_up();
    unsummarized();
    add(&tenant, 1, 20000, "clock_timestamp()");
    cr_assert_eq(database_run(db, &hurry, NULL, NULL), STATUS_OK);
    cr_assert_eq(database_begin(other), STATUS_OK);
    cr_assert_eq(database_run(other, &lock, NULL, NULL), STATUS_OK);
    do {
        turn(db, &sealing);
        cr_assert_eq(database_run(other, &awake, NULL, NULL), STATUS_OK);
    } while (of_seal(&tenant, "seq") < 20000);
    cr_assert_eq(database_commit(other), STATUS_OK);
    database_destroy(other);
    cr_assert_gt(unsummarized(), 1);
}
