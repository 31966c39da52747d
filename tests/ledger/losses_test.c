/* What the database has lost: found by what Redis shows, kept, accepted once. */
#include "tests/ledger/support.h"

#include "base/clock.h"
#include "ledger/ledger.h"
#include "ledger/session.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>

static struct arena arena;
static struct database *db;

static void begin(void)
{
    arena_init(&arena, 4096, 1 << 24);
    db = support_open();
}

static void end(void)
{
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(losses, .init = begin, .fini = end);

/* The row as support_tenant_make made it, with 100 lent, as Redis shows it. */
static struct loss_seen seen_of(const struct support_tenant *tenant)
{
    return (struct loss_seen){.tenant_id = tenant->tenant_id,
                              .ref = {tenant->limit_id, 0},
                              .lease_id = tenant->lease_id,
                              .granted = 100,
                              .lease_deadline_ms = support_now_ms() + 600000};
}

/* Three entries of 21 units that the row does not have. */
static struct loss_seen three_lost(const struct support_tenant *tenant)
{
    struct loss_seen seen = seen_of(tenant);

    seen.spent = seen.used = 21;
    seen.used_seq = 3;
    return seen;
}

static size_t find(const struct loss_seen *seen, size_t count, struct loss **ret)
{
    size_t found = 0;

    cr_assert_eq(ledger_losses_find(db, &arena, seen, count, ret, &found), STATUS_OK, "%s",
                 database_error(db));
    return found;
}

static size_t find_one(const struct loss_seen *seen)
{
    struct loss *losses;

    return find(seen, 1, &losses);
}

static bool is_read_only(const struct support_tenant *tenant)
{
    return fixture_sql("SELECT read_only::integer FROM tenant WHERE tenant_id = %" PRId64,
                       tenant->tenant_id) == 1;
}

static size_t accept_as(const struct support_tenant *tenant, const char *request_id,
                        bool validate_only, struct ledger_loss **ret, enum ledger_admin *ret_admin)
{
    const struct ledger_note note = {SLICE("test"), SLICE(""), slice_from_cstr(request_id)};
    size_t count = 0;

    cr_assert_eq(ledger_losses_accept(db, &arena, &note, validate_only,
                                      slice_from_cstr(tenant->name), ret, &count, ret_admin),
                 STATUS_OK, "%s", database_error(db));
    return count;
}

static bool is_listed(const struct support_tenant *tenant)
{
    struct slice *names;
    size_t count;
    bool listed = false;

    cr_assert_eq(ledger_losses_tenants(db, &arena, 64, &names, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        listed |= slice_equal_cstr(names[i], tenant->name);
    return listed;
}

Test(losses, the_same_is_no_loss)
{
    struct support_tenant tenant = support_tenant_make("same", 1000, 1000, 100);
    struct loss_seen seen = seen_of(&tenant);

    cr_assert_eq(find_one(&seen), 0);
    seen.granted = 50; /* an older Redis */
    cr_assert_eq(find_one(&seen), 0);
    cr_assert_eq(support_of_quota(&tenant, "granted"), 100);
    cr_assert_not(is_read_only(&tenant));
}

Test(losses, what_was_lost_is_kept_and_its_tenant_is_read_only)
{
    struct support_tenant tenant = support_tenant_make("lost", 1000, 1000, 100);
    struct loss_seen seen = three_lost(&tenant);
    int64_t version = fixture_sql("SELECT config_version FROM tenant WHERE tenant_id = %" PRId64,
                                  tenant.tenant_id);
    struct loss *losses;

    cr_assert_eq(find(&seen, 1, &losses), 1);
    cr_assert_eq(losses[0].units, 21);
    cr_assert_eq(losses[0].spent, 21);
    cr_assert(is_read_only(&tenant));
    cr_assert(is_listed(&tenant));
    cr_assert_gt(fixture_sql("SELECT config_version FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 version, "servers read it again");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64
                             " AND action = 'tenant.read_only'",
                             tenant.tenant_id),
                 1);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 0, "nothing is booked yet");
    cr_assert_eq(find_one(&seen), 0, "it waits for its acceptance");
}

Test(losses, of_many_tenants_only_those_are_read_only_that_lost)
{
    struct support_tenant whole = support_tenant_make("m-whole", 1000, 1000, 100);
    struct support_tenant one = support_tenant_make("m-one", 1000, 1000, 100);
    struct support_tenant other = support_tenant_make("m-other", 1000, 1000, 100);
    struct loss_seen seen[] = {seen_of(&whole), three_lost(&one), three_lost(&other)};
    struct loss *losses;

    cr_assert_eq(find(seen, ARRAY_COUNT(seen), &losses), 2);
    cr_assert_eq(losses[0].tenant_id, one.tenant_id);
    cr_assert_eq(losses[1].tenant_id, other.tenant_id);
    cr_assert_not(is_read_only(&whole));
    cr_assert(is_read_only(&one) && is_read_only(&other));
}

/* By a locked row, or by rows that contradict each other. */
Test(losses, one_that_cannot_be_looked_at_keeps_no_other_from_it)
{
    struct support_tenant tenants[] = {support_tenant_make("locked", 1000, 1000, 100),
                                       support_tenant_make("broken", 1000, 1000, 100),
                                       support_tenant_make("behind", 1000, 1000, 100)};
    struct loss_seen seen[3];
    struct loss *losses;
    size_t found = 0;
    PGconn *locker = PQconnectdb(getenv("HOLDFAST_TEST_POSTGRES"));
    char lock[100];

    for (size_t i = 0; i < 3; i++)
        seen[i] = three_lost(&tenants[i]);
    fixture_sql_do("UPDATE quota SET leased = leased + 1 WHERE tenant_id = %" PRId64,
                   tenants[1].tenant_id);
    snprintf(lock, sizeof(lock), "BEGIN; SELECT FROM quota WHERE tenant_id = %" PRId64 " FOR UPDATE",
             tenants[0].tenant_id);
    PQclear(PQexec(locker, lock));
    cr_assert_eq(PQtransactionStatus(locker), PQTRANS_INTRANS, "%s", PQerrorMessage(locker));
    cr_assert_neq(ledger_losses_find(db, &arena, seen, 3, &losses, &found), STATUS_OK);
    cr_assert_eq(found, 1);
    cr_assert(is_read_only(&tenants[2]));
    cr_assert_not(is_read_only(&tenants[0]));
    PQfinish(locker);
    fixture_sql_do("UPDATE quota SET leased = leased - 1 WHERE tenant_id = %" PRId64,
                   tenants[1].tenant_id);
}

Test(losses, a_grant_that_was_forgotten_is_counted_again_and_is_no_loss)
{
    struct support_tenant tenant = support_tenant_make("granted", 1000, 1000, 100);
    struct loss_seen seen = seen_of(&tenant);

    seen.granted = 250;
    seen.returned = 30;
    cr_assert_eq(find_one(&seen), 0);
    cr_assert_eq(support_of_quota(&tenant, "granted"), 250);
    cr_assert_eq(support_of_quota(&tenant, "leased"), 220);
    cr_assert_not(is_read_only(&tenant));
    support_check_quotas(&tenant);
}

Test(losses, a_push_that_was_forgotten_is_known_again)
{
    struct support_tenant tenant = support_tenant_make("pushed", 1000, 1000, 100);
    struct loss_seen seen = seen_of(&tenant);

    seen.lease_deadline_ms += 300000;
    cr_assert_eq(find_one(&seen), 0);
    cr_assert_eq(support_of_quota(&tenant, "lease_deadline_ms"), seen.lease_deadline_ms);
    cr_assert_not(is_read_only(&tenant));
}

Test(losses, what_waits_grows_once_when_the_row_goes_back_again)
{
    struct support_tenant tenant = support_tenant_make("again", 1000, 1000, 100);
    struct loss_seen seen = three_lost(&tenant);
    enum ledger_admin admin;
    struct ledger_loss *accepted;
    struct loss *losses;

    cr_assert_eq(find_one(&seen), 1);
    seen.used_seq = 5;
    seen.spent = seen.used = 30;
    cr_assert_eq(find(&seen, 1, &losses), 1);
    cr_assert_eq(losses[0].units, 30);
    cr_assert_eq(find_one(&seen), 0);
    cr_assert_eq(accept_as(&tenant, "do", false, &accepted, &admin), 1);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 30);
    support_check_quotas(&tenant);
}

Test(losses, a_lease_that_was_forgotten_is_the_rows_and_the_one_before_is_set_aside)
{
    struct support_tenant tenant = support_tenant_make("lease", 1000, 1000, 100);
    struct loss_seen seen = seen_of(&tenant);

    seen.lease_id = tenant.lease_id + 1;
    seen.granted = 40;
    cr_assert_eq(find_one(&seen), 0);
    cr_assert_eq(support_of_quota(&tenant, "lease_id"), tenant.lease_id + 1);
    cr_assert_eq(support_of_quota(&tenant, "leased"), 140);
    cr_assert_eq(fixture_sql("SELECT granted FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 100);
    support_check_quotas(&tenant);
}

Test(losses, a_row_that_is_gone_is_made_and_its_use_is_lost)
{
    struct support_tenant tenant = support_tenant_make("gone", 1000, 1000, 100);
    struct loss_seen seen = three_lost(&tenant);
    struct loss *losses;

    fixture_sql_do("DELETE FROM quota WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(find(&seen, 1, &losses), 1);
    cr_assert_eq(losses[0].units, 21);
    cr_assert_eq(support_of_quota(&tenant, "granted"), 100);
}

Test(losses, a_limit_that_is_gone_is_left_out)
{
    struct support_tenant tenant = support_tenant_make("no-limit", 1000, 1000, 100);
    struct loss_seen seen[] = {three_lost(&tenant), three_lost(&tenant)};
    struct loss *losses;

    seen[1].ref.limit_id += 1000000;
    cr_assert_eq(find(seen, ARRAY_COUNT(seen), &losses), 1);
    cr_assert_eq(losses[0].ref.limit_id, tenant.limit_id);
}

/* --- accepting ---------------------------------------------------------------------------------- */

Test(losses, what_is_accepted_is_booked_once)
{
    struct support_tenant tenant = support_tenant_make("accepted", 1000, 1000, 100);
    struct loss_seen seen = three_lost(&tenant);
    enum ledger_admin admin;
    struct ledger_loss *losses;
    struct slice job_id;

    cr_assert_eq(find_one(&seen), 1);
    cr_assert_eq(accept_as(&tenant, "try", true, &losses, &admin), 1);
    cr_assert_eq(losses[0].amount, 21);
    cr_assert(is_read_only(&tenant), "it was only asked about");
    cr_assert_eq(support_ledger_rows(&tenant), 0);
    cr_assert_eq(accept_as(&tenant, "do", false, &losses, &admin), 1);
    cr_assert_eq(admin, ADMIN_DONE);
    cr_assert_eq(losses[0].loss.units, 21);
    cr_assert_eq(losses[0].amount, 21);
    cr_assert_eq(losses[0].debt, 0);
    cr_assert_not(is_read_only(&tenant));
    cr_assert_not(is_listed(&tenant));
    cr_assert_eq(support_of_quota(&tenant, "committed"), 21);
    cr_assert_eq(support_of_quota(&tenant, "spent"), 21, "the lease had lent them");
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    support_check_quotas(&tenant);
    cr_assert_eq(support_of_quota(&tenant, "ledger_seq + seq_lost"), 4, "Redis knows three");
    job_id = losses[0].job_id;
    cr_assert_eq(accept_as(&tenant, "do", false, &losses, &admin), 1, "a repeat");
    cr_assert_eq(admin, ADMIN_REPEATED);
    cr_assert_eq(losses[0].loss.units, 21);
    cr_assert_eq(losses[0].loss.seen_seq - losses[0].loss.seq, 3);
    cr_assert_eq(losses[0].amount, 21);
    cr_assert_eq(losses[0].debt, 0);
    cr_assert(slice_equal(losses[0].job_id, job_id));
    cr_assert(slice_equal_cstr(losses[0].limit_name, "main"));
    cr_assert_eq(accept_as(&tenant, "again", false, &losses, &admin), 0, "another one");
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    cr_assert_eq(find_one(&seen), 0, "Redis shows the higher number still");
}

Test(losses, what_was_lost_after_an_acceptance_is_found)
{
    struct support_tenant tenant = support_tenant_make("later", 1000, 1000, 100);
    struct loss_seen seen = three_lost(&tenant);
    enum ledger_admin admin;
    struct ledger_loss *accepted;
    struct loss *losses;

    cr_assert_eq(find_one(&seen), 1);
    cr_assert_eq(accept_as(&tenant, "do", false, &accepted, &admin), 1);
    seen.used_seq = 5;
    seen.spent = seen.used = 30;
    cr_assert_eq(find(&seen, 1, &losses), 1);
    cr_assert_eq(losses[0].units, 9, "without those that were booked");
    cr_assert(is_read_only(&tenant));
    cr_assert_eq(accept_as(&tenant, "more", false, &accepted, &admin), 1);
    cr_assert_eq(accept_as(&tenant, "do", false, &accepted, &admin), 1, "a repeat of the first");
    cr_assert_eq(accepted[0].loss.units, 21);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 30);
    support_check_quotas(&tenant);
}

Test(losses, what_does_not_fit_is_debt)
{
    struct support_tenant tenant = support_tenant_make("debt", 100, 100, 100);
    struct loss_seen seen = seen_of(&tenant);
    enum ledger_admin admin;
    struct ledger_loss *losses;

    seen.used = 130; /* 30 of them beyond the cap */
    seen.spent = 100;
    seen.used_seq = 2;
    cr_assert_eq(find_one(&seen), 1);
    cr_assert_eq(accept_as(&tenant, "do", false, &losses, &admin), 1);
    cr_assert_eq(losses[0].amount, 100);
    cr_assert_eq(losses[0].debt, 30);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 100);
    cr_assert_eq(support_of_quota(&tenant, "debt"), 30);
    support_check_quotas(&tenant);
    support_check_events(&tenant);
}

Test(losses, nothing_is_accepted_of_a_tenant_that_lost_nothing_or_is_not_there)
{
    struct support_tenant tenant = support_tenant_make("whole", 1000, 1000, 100), nobody = {.name = "nobody"};
    enum ledger_admin admin;
    struct ledger_loss *losses;

    cr_assert_eq(accept_as(&tenant, "do", false, &losses, &admin), 0);
    cr_assert_eq(admin, ADMIN_DONE);
    cr_assert_eq(support_ledger_rows(&tenant), 0);
    accept_as(&nobody, "do", false, &losses, &admin);
    cr_assert_eq(admin, ADMIN_NOT_FOUND);
}

/* --- which history ------------------------------------------------------------------------------ */

static enum status open_as_committer(void)
{
    const struct session_options options = {.conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
                                            .connect_timeout_ms = 5000,
                                            .statement_timeout_ms = 5000,
                                            .clock = clock_real(),
                                            .compared = true};
    char error[SESSION_ERROR_MAX];
    PGconn *conn = NULL;
    enum status status = session_open(&options, &conn, error);

    if (status == STATUS_OK)
        PQfinish(conn);
    return status;
}

static struct ledger_beat beat(void)
{
    struct ledger_beat beat;

    cr_assert_eq(ledger_beat_run(db, &arena, SLICE("test"), 1000, 1000000, &beat), STATUS_OK, "%s",
                 database_error(db));
    return beat;
}

static void mark_as(int64_t system, int64_t timeline)
{
    cr_assert_eq(ledger_history_compared(db, &arena, system, timeline), STATUS_OK);
}

Test(losses, nothing_is_committed_in_a_history_that_was_not_compared)
{
    struct ledger_beat own = beat();

    cr_assert_not(own.uncompared, "the migration marks the one that it begins in");
    cr_assert_eq(open_as_committer(), STATUS_OK);
    mark_as(own.system, own.timeline + 1); /* as it says after that one took over from this */
    cr_assert(beat().uncompared);
    cr_assert_eq(open_as_committer(), STATUS_UNAVAILABLE);
    mark_as(own.system + 1, own.timeline);
    cr_assert(beat().uncompared);
    cr_assert_eq(open_as_committer(), STATUS_UNAVAILABLE);
    mark_as(own.system, own.timeline);
    cr_assert_not(beat().uncompared);
    cr_assert_eq(open_as_committer(), STATUS_OK);
}
