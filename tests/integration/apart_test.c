/*
 * One tenant is not in another's way, whatever it has: here, so many quotas at once that no single
 * script may be about all of them.
 */
#include "base/hash.h"
#include "base/slice.h"
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };

static struct fixture_server server;
static struct stub_channel *channel;

static void open_scene(void)
{
    fixture_server_start(&server, NULL);
    channel = fixture_channel(server.listen, NULL);
}

static void close_scene(void)
{
    stub_channel_destroy(channel);
    fixture_server_stop(&server);
}

TestSuite(apart, .init = open_scene, .fini = close_scene);

/* Each scope has as many limits as one reservation may count against. */
enum { SCOPES = 32, LIMITS_OF_SCOPE = 128, TRIES = 20 };

static const char wide[] = "apart-wide", near[] = "apart-near";

/* Straight into the database: by calls it would take a while. */
static void make_wide(void)
{
    fixture_sql_do("INSERT INTO tenant (name, shard, config_position) VALUES ('%s', %d,"
                   " config_position_next())", wide,
                   (int)(hash_slice(slice_from_cstr(wide)) % 256));
    fixture_sql_do("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
                   " soft_percent, overage_kind, overage, cap, soft) SELECT tenant_id,"
                   " s || '-' || n, 's' || s, 'calls', 1, false, 1000, 90, 1, 0, 1000, 900 FROM tenant,"
                   " generate_series(0, %d) s, generate_series(1, %d) n WHERE tenant.name = '%s'",
                   SCOPES - 1, LIMITS_OF_SCOPE, wide);
}

struct part {
    const char *round;
    int64_t ttl_ms;
    void (*call)(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
    struct answer answers[SCOPES];
};

static void call_one(void *user, int index)
{
    struct part *part = user;
    char scope[16], job[32];
    struct ask ask = {.tenant = wide,
                      .scope = scope,
                      .job = job,
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {1},
                      .ttl_ms = part->ttl_ms,
                      .timeout_ms = 20000};

    snprintf(scope, sizeof(scope), "s%d", index);
    snprintf(job, sizeof(job), "%s-%d", part->round, index);
    for (int i = 0; i < TRIES; i++) {
        part->call(channel, &ask, &part->answers[index]);
        if (!passing(&part->answers[index]))
            return;
    }
}

/* The same call for every scope at once. */
static void call_all(struct part *part)
{
    crowd(SCOPES, call_one, part);
    for (int i = 0; i < SCOPES; i++)
        cr_assert_eq(part->answers[i].code, STUB_OK, "%s-%d: %s %s", part->round, i,
                     part->answers[i].reason, part->answers[i].text);
}

static void hold_all(const char *round, int64_t ttl_ms)
{
    struct part part = {.round = round, .ttl_ms = ttl_ms, .call = call_reserve};

    call_all(&part);
    for (int i = 0; i < SCOPES; i++)
        cr_assert(admitted(&part.answers[i]), "%s-%d: %s", round, i, part.answers[i].reasons);
}

static void near_goes_on(const char *job)
{
    struct ask ask = {.tenant = near,
                      .job = job,
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {1}};
    struct answer answer;

    call_reserve(channel, &ask, &answer);
    cr_assert(admitted(&answer), "%s %s", answer.reason, answer.text);
}

Test(apart, thousands_of_quotas_at_once_are_served_in_parts)
{
    struct part commits = {.round = "commit", .call = call_commit};

    make_wide();
    plan_tenant(channel, near);
    plan_limit(channel, near, "calls", "", "calls", NEVER, 1000);
    hold_all("commit", 60000);
    near_goes_on("after-grants");
    call_all(&commits);
    near_goes_on("after-commits");
    cr_assert_eq(books_rows(wide), SCOPES);
    cr_assert(books_free_within(wide, 5000), "%" PRId64 " are held", books_held(wide));
    hold_all("expire", 1500);
    cr_assert(books_free_within(wide, 10000), "%" PRId64 " are held", books_held(wide));
    near_goes_on("after-reaps");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM expired_hold JOIN tenant USING (tenant_id)"
                             " WHERE name = '%s'", wide), SCOPES);
    books_balance(wide);
}
