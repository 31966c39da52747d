/* Who may serve a shard: made once, changed by compare and set, one winner. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#define REPLID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define REPLID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define NONCE "0123456789abcdef0123456789abcdef"

static struct database *db;

static void begin(void)
{
    db = support_open();
}

static void end(void)
{
    database_destroy(db);
}

TestSuite(authority, .init = begin, .fini = end);

static struct shard_view view_of(int shard)
{
    struct shard_view view;

    cr_assert_eq(ledger_authority_read(db, &shard, 1, &view), STATUS_OK, "%s", database_error(db));
    return view;
}

Test(authority, a_missing_row_is_made_inactive_and_may_be_taken_at_once)
{
    const int shards[] = {11, 10, 11};
    struct shard_view views[3], after;
    bool won;

    cr_assert_eq(ledger_authority_read(db, shards + 1, 2, views + 1), STATUS_OK);
    cr_assert_eq(ledger_authority_read(db, shards, 2, views), STATUS_OK);
    cr_assert_eq(views[0].shard, 11);
    cr_assert_eq(views[1].shard, 10);
    cr_assert_eq(views[0].epoch, 1);
    cr_assert_not(views[0].active);
    cr_assert_str_eq(views[0].replid, "");
    cr_assert_eq(ledger_authority_bump(db, &views[0], 0, REPLID_A, "first", &won, &after),
                 STATUS_OK);
    cr_assert(won);
    cr_assert_eq(after.epoch, 2);
    cr_assert_str_eq(after.replid, REPLID_A);
    cr_assert_not(after.active);
}

Test(authority, is_made_ready_and_then_active_with_its_nonce)
{
    struct shard_view view = view_of(20), mine, after;
    bool won;

    cr_assert_eq(ledger_authority_bump(db, &view, 41, REPLID_A, "test", &won, &mine), STATUS_OK);
    cr_assert(won);
    cr_assert_eq(mine.epoch, 42, "above what Redis has seen");
    strcpy(mine.nonce, NONCE);
    cr_assert_eq(ledger_authority_activate(db, &mine, &won, &after), STATUS_OK);
    cr_assert(won);
    cr_assert(after.active);
    cr_assert_str_eq(after.nonce, NONCE);
    cr_assert_str_eq(after.replid, REPLID_A);
    cr_assert_eq(ledger_authority_activate(db, &mine, &won, &after), STATUS_OK);
    cr_assert_not(won, "active already");
    cr_assert(after.active);
}

Test(authority, a_stale_view_changes_nothing_and_learns_what_is)
{
    struct shard_view stale = view_of(21), mine, after;
    bool won;

    cr_assert_eq(ledger_authority_bump(db, &stale, 0, REPLID_A, "a", &won, &mine), STATUS_OK);
    strcpy(mine.nonce, NONCE);
    cr_assert_eq(ledger_authority_activate(db, &mine, &won, &mine), STATUS_OK);
    cr_assert_eq(ledger_authority_bump(db, &stale, 0, REPLID_B, "b", &won, &after), STATUS_OK);
    cr_assert_not(won);
    cr_assert_eq(after.epoch, mine.epoch);
    cr_assert_str_eq(after.replid, REPLID_A);
    cr_assert(after.active);
    cr_assert_eq(ledger_authority_bump(db, &mine, 0, REPLID_B, "b", &won, &after), STATUS_OK);
    cr_assert(won);
    cr_assert_str_eq(after.nonce, "");
    strcpy(mine.nonce, NONCE);
    cr_assert_eq(ledger_authority_activate(db, &mine, &won, &after), STATUS_OK);
    cr_assert_not(won, "somebody else's epoch");
    cr_assert_not(after.active);
}

/* Seen while somebody made it ready, and active since: it is not taken away again. */
Test(authority, what_became_active_since_it_was_seen_is_left_alone)
{
    struct shard_view view = view_of(23), seen, mine, after;
    bool won;

    cr_assert_eq(ledger_authority_bump(db, &view, 0, REPLID_A, "a", &won, &mine), STATUS_OK);
    seen = mine;
    strcpy(mine.nonce, NONCE);
    cr_assert_eq(ledger_authority_activate(db, &mine, &won, &mine), STATUS_OK);
    cr_assert(won);
    cr_assert_eq(ledger_authority_bump(db, &seen, 0, REPLID_A, "b", &won, &after), STATUS_OK);
    cr_assert_not(won);
    cr_assert(after.active);
    cr_assert_eq(after.epoch, mine.epoch);
}

Test(authority, who_makes_it_ready_is_left_alone_for_a_second)
{
    struct shard_view view = view_of(22), mine, after;
    bool won;

    cr_assert_eq(ledger_authority_bump(db, &view, 0, REPLID_A, "a", &won, &mine), STATUS_OK);
    cr_assert_eq(ledger_authority_bump(db, &mine, 0, REPLID_B, "b", &won, &after), STATUS_OK);
    cr_assert_not(won);
    cr_assert_eq(after.epoch, mine.epoch);
    fixture_sql_do("UPDATE shard_authority SET changed = clock_timestamp() - interval '2 seconds'"
                   " WHERE shard = 22");
    cr_assert_eq(ledger_authority_bump(db, &mine, 0, REPLID_B, "b", &won, &after), STATUS_OK);
    cr_assert(won);
    cr_assert_str_eq(after.replid, REPLID_B);
}

Test(authority, all_tells_which_rows_exist)
{
    static struct shard_view views[SHARDS];
    static bool known[SHARDS];

    view_of(200);
    fixture_sql_do("DELETE FROM shard_authority WHERE shard = 201");
    memset(known, 1, sizeof(known));
    cr_assert_eq(ledger_authority_all(db, views, known), STATUS_OK);
    cr_assert(known[200]);
    cr_assert_eq(views[200].shard, 200);
    cr_assert_eq(views[200].epoch, 1);
    cr_assert_not(known[201]);
}

enum { THREADS = 8 };

struct racer {
    pthread_t thread;
    struct shard_view from, after;
    enum status status;
    bool won;
};

static void *race(void *user)
{
    struct racer *racer = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));

    racer->status =
        ledger_authority_bump(own, &racer->from, 0, REPLID_A, "race", &racer->won, &racer->after);
    database_destroy(own);
    return NULL;
}

Test(authority, of_many_who_raise_the_epoch_one_wins)
{
    struct racer racers[THREADS] = {0};
    struct shard_view from = view_of(30);
    int wins = 0;

    for (int i = 0; i < THREADS; i++) {
        racers[i].from = from;
        cr_assert_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(racers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(racers[i].status, STATUS_OK);
        cr_assert_eq(racers[i].after.epoch, from.epoch + 1);
        wins += racers[i].won;
    }
    cr_assert_eq(wins, 1);
}
