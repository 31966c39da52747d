/*
 * Reads on real stores: usage, holds, one reservation through its life, advisory checks and status,
 * also while Redis is away.
 */
#include "tests/support/fixture.h"

#include "stub/client.h"

#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.stub.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FREE(message) protobuf_c_message_free_unpacked(&(message)->base, NULL)

static struct fixture_server server;
static struct stub_channel *channel;
static char tenant[64];
static char tokens[] = "tokens", acu[] = "acu", none[] = "";

static void create_tenant(bool admits_unlimited)
{
    Holdfast__V1__CreateTenantRequest request = HOLDFAST__V1__CREATE_TENANT_REQUEST__INIT;
    Holdfast__V1__Tenant message = HOLDFAST__V1__TENANT__INIT;
    Holdfast__V1__CreateTenantResponse *reply;

    snprintf(tenant, sizeof(tenant), "reads-%" PRId64, fixture_now_us());
    message.tenant = tenant;
    message.admit_unlimited_meters = admits_unlimited;
    request.tenant = &message;
    cr_assert_eq(holdfast_v1_admin_service_create_tenant(channel, NULL, &request, &reply, NULL),
                 STUB_OK);
    FREE(reply);
}

static void put_limit(char *name, char *scope, char *meter, int64_t units)
{
    Holdfast__V1__PutLimitRequest request = HOLDFAST__V1__PUT_LIMIT_REQUEST__INIT;
    Holdfast__V1__Limit limit = HOLDFAST__V1__LIMIT__INIT;
    Holdfast__V1__PutLimitResponse *reply;

    limit.tenant = tenant;
    limit.limit_id = name;
    limit.scope = scope;
    limit.meter = meter;
    limit.period = HOLDFAST__V1__PERIOD__PERIOD_NEVER;
    limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
    limit.units = units;
    request.limit = &limit;
    cr_assert_eq(holdfast_v1_admin_service_put_limit(channel, NULL, &request, &reply, NULL),
                 STUB_OK);
    FREE(reply);
}

static int reserve(char *job, char *scope, int64_t units, int64_t ttl_ms)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts[] = {&amount};
    Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
    Holdfast__V1__ReserveResponse *reply;
    int decision;

    amount.meter = tokens;
    amount.units = units;
    ttl.seconds = ttl_ms / 1000;
    ttl.nanos = (int32_t)(ttl_ms % 1000 * 1000000);
    request.tenant = tenant;
    request.job_id = job;
    request.scope = scope;
    request.n_amounts = 1;
    request.amounts = amounts;
    request.ttl = &ttl;
    cr_assert_eq(holdfast_v1_quota_service_reserve(channel, NULL, &request, &reply, NULL), STUB_OK);
    decision = (int)reply->decision;
    FREE(reply);
    return decision;
}

static void commit(char *job)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    Holdfast__V1__CommitResponse *reply;

    request.tenant = tenant;
    request.job_id = job;
    cr_assert_eq(holdfast_v1_quota_service_commit(channel, NULL, &request, &reply, NULL), STUB_OK);
    FREE(reply);
}

static void start(void)
{
    fixture_server_start(&server, NULL);
    channel = fixture_channel(server.listen, NULL);
}

static void stop(void)
{
    stub_channel_destroy(channel);
    fixture_server_stop(&server);
}

TestSuite(reads, .init = start, .fini = stop, .timeout = 60);

/* --- GetUsage --------------------------------------------------------------------------------- */

static Holdfast__V1__GetUsageResponse *usage(char *scope, bool below, int32_t page_size,
                                             char *page_token)
{
    Holdfast__V1__GetUsageRequest request = HOLDFAST__V1__GET_USAGE_REQUEST__INIT;
    Holdfast__V1__GetUsageResponse *reply;

    request.tenant = tenant;
    request.scope = scope;
    request.include_descendants = below;
    request.page_size = page_size;
    request.page_token = page_token;
    cr_assert_eq(holdfast_v1_quota_service_get_usage(channel, NULL, &request, &reply, NULL),
                 STUB_OK);
    return reply;
}

Test(reads, usage_shows_the_limits_of_a_scope_and_those_below)
{
    static char a[] = "a-limit", b[] = "b-limit", c[] = "c-limit";
    static char team[] = "team", user[] = "team/user", teams[] = "teams", job[] = "job";
    Holdfast__V1__GetUsageResponse *reply;

    create_tenant(false);
    put_limit(c, none, tokens, 1000);
    put_limit(a, team, tokens, 500);
    put_limit(b, user, tokens, 100);
    cr_assert_eq(reserve(job, user, 30, 60000), HOLDFAST__V1__DECISION__DECISION_ALLOW);
    reply = usage(none, false, 0, none);
    cr_assert_eq(reply->n_quotas, 1);
    cr_assert_str_eq(reply->quotas[0]->limit_id, "c-limit");
    cr_assert_eq(reply->quotas[0]->held, 30);
    cr_assert_not(reply->degraded);
    FREE(reply);
    reply = usage(team, true, 0, none);
    cr_assert_eq(reply->n_quotas, 2);
    cr_assert_eq(reply->quotas[0]->held, 30);
    cr_assert_eq(reply->quotas[1]->remaining, 70);
    FREE(reply);
    reply = usage(teams, true, 0, none);
    cr_assert_eq(reply->n_quotas, 0, "a name that begins alike is another scope");
    FREE(reply);
}

Test(reads, usage_comes_in_pages_sorted_by_limit)
{
    char names[5][16], token[256] = "", seen[128] = "";
    size_t pages = 0;

    create_tenant(false);
    for (int i = 4; i >= 0; i--) {
        snprintf(names[i], sizeof(names[i]), "limit-%d", i);
        put_limit(names[i], none, tokens, 1000);
    }
    do {
        Holdfast__V1__GetUsageResponse *reply = usage(none, false, 2, token);

        cr_assert_leq(reply->n_quotas, 2);
        for (size_t i = 0; i < reply->n_quotas; i++) {
            size_t len = strlen(seen);

            snprintf(seen + len, sizeof(seen) - len, "%s ", reply->quotas[i]->limit_id);
        }
        snprintf(token, sizeof(token), "%s", reply->next_page_token);
        FREE(reply);
        pages++;
    } while (token[0]);
    cr_assert_str_eq(seen, "limit-0 limit-1 limit-2 limit-3 limit-4 ");
    cr_assert_eq(pages, 3);
}

Test(reads, usage_counts_meters_that_have_no_limit)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts[] = {&amount};
    Holdfast__V1__ReserveResponse *reserved;
    Holdfast__V1__GetUsageResponse *reply;
    static char job[] = "job";

    create_tenant(true);
    amount.meter = acu;
    amount.units = 7;
    request.tenant = tenant;
    request.job_id = job;
    request.n_amounts = 1;
    request.amounts = amounts;
    cr_assert_eq(holdfast_v1_quota_service_reserve(channel, NULL, &request, &reserved, NULL),
                 STUB_OK);
    cr_assert_eq(reserved->decision, HOLDFAST__V1__DECISION__DECISION_ALLOW);
    FREE(reserved);
    commit(job);
    reply = usage(none, false, 0, none);
    cr_assert_eq(reply->n_quotas, 1);
    cr_assert_str_eq(reply->quotas[0]->limit_id, "");
    cr_assert(reply->quotas[0]->bound_case == HOLDFAST__V1__QUOTA_STATE__BOUND_UNLIMITED);
    cr_assert_eq(reply->quotas[0]->committed, 7);
    FREE(reply);
}

static bool is_set_aside(void *user)
{
    Holdfast__V1__GetUsageResponse *reply = usage(none, false, 0, none);
    bool so = !reply->degraded && reply->quotas[0]->set_aside > 0;

    (void)user;
    FREE(reply);
    return so;
}

Test(reads, what_a_loss_of_redis_sets_aside_is_not_called_held)
{
    static char all[] = "all", lost[] = "lost", kept[] = "kept";
    Holdfast__V1__GetUsageResponse *reply;
    const Holdfast__V1__QuotaState *quota;

    create_tenant(false);
    put_limit(all, none, tokens, 1000);
    cr_assert_eq(reserve(lost, none, 30, 60000), HOLDFAST__V1__DECISION__DECISION_ALLOW);
    fixture_stores("restart-redis", "--lose-data");
    if (!fixture_until(10000, is_set_aside, NULL)) {
        reply = usage(none, false, 0, none);
        cr_assert(false, "degraded %d held %" PRId64 " set aside %" PRId64, reply->degraded,
                  reply->quotas[0]->held, reply->quotas[0]->set_aside);
    }
    reply = usage(none, false, 0, none);
    quota = reply->quotas[0];
    cr_assert_eq(quota->held, 0, "no hold lives");
    cr_assert_not(quota->held_is_upper_bound);
    cr_assert_geq(quota->set_aside, 30);
    cr_assert_not_null(quota->set_aside_until);
    cr_assert_gt(quota->set_aside_until->seconds, reply->server_time->seconds);
    cr_assert_eq(quota->remaining, 1000 - quota->set_aside);
    FREE(reply);
    cr_assert_eq(reserve(kept, none, 7, 60000), HOLDFAST__V1__DECISION__DECISION_ALLOW);
    reply = usage(none, false, 0, none);
    quota = reply->quotas[0];
    cr_assert_eq(quota->held, 7);
    cr_assert_geq(quota->set_aside, 30);
    cr_assert_eq(quota->remaining, 1000 - 7 - quota->set_aside);
    cr_assert_not_null(quota->set_aside_until);
    FREE(reply);
}

/* --- ListReservations ------------------------------------------------------------------------- */

static size_t list(char *scope, int32_t page_size, char *token, size_t token_bytes)
{
    Holdfast__V1__ListReservationsRequest request = HOLDFAST__V1__LIST_RESERVATIONS_REQUEST__INIT;
    Holdfast__V1__ListReservationsResponse *reply;
    size_t count;

    request.tenant = tenant;
    request.scope = scope;
    request.page_size = page_size;
    request.page_token = token;
    cr_assert_eq(holdfast_v1_quota_service_list_reservations(channel, NULL, &request, &reply, NULL),
                 STUB_OK);
    count = reply->n_reservations;
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(reply->reservations[i]->state,
                     HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD);
    snprintf(token, token_bytes, "%s", reply->next_page_token);
    FREE(reply);
    return count;
}

Test(reads, live_holds_come_in_pages_and_by_scope)
{
    static char all[] = "all", team[] = "team", user[] = "team/user", other[] = "other";
    char job[16], token[512] = "";
    size_t found = 0;

    create_tenant(false);
    put_limit(all, none, tokens, 1000);
    for (int i = 0; i < 7; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        cr_assert_eq(reserve(job, i < 3 ? user : other, 1, 60000 + i % 2),
                     HOLDFAST__V1__DECISION__DECISION_ALLOW);
    }
    do
        found += list(none, 3, token, sizeof(token));
    while (token[0]);
    cr_assert_eq(found, 7);
    cr_assert_eq(list(team, 0, token, sizeof(token)), 3);
    commit(job);
    token[0] = '\0';
    cr_assert_eq(list(none, 0, token, sizeof(token)), 6);
}

/* Each of these holds names 32 meters and as many limits, as long as names may be. */
Test(reads, pages_end_at_one_mebibyte)
{
    enum { METERS = 32, HOLDS = 320 };
    static char meters[METERS][65], limits[METERS][65], job[256];
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__Amount messages[METERS], *amounts[METERS];
    Holdfast__V1__ListReservationsRequest asked = HOLDFAST__V1__LIST_RESERVATIONS_REQUEST__INIT;
    char token[512] = "";
    size_t found = 0, pages = 0;

    create_tenant(false);
    for (int i = 0; i < METERS; i++) {
        snprintf(meters[i], sizeof(meters[i]), "m-%062d", i);
        snprintf(limits[i], sizeof(limits[i]), "l-%062d", i);
        put_limit(limits[i], none, meters[i], 1000000);
        holdfast__v1__amount__init(&messages[i]);
        messages[i].meter = meters[i];
        messages[i].units = 1000;
        amounts[i] = &messages[i];
    }
    request.tenant = tenant;
    request.job_id = job;
    request.n_amounts = METERS;
    request.amounts = amounts;
    request.brief = 1;
    for (int i = 0; i < HOLDS; i++) {
        Holdfast__V1__ReserveResponse *reserved;

        snprintf(job, sizeof(job), "job-%0250d", i);
        cr_assert_eq(holdfast_v1_quota_service_reserve(channel, NULL, &request, &reserved, NULL),
                     STUB_OK);
        FREE(reserved);
    }
    asked.tenant = tenant;
    asked.page_size = 1000;
    asked.page_token = token;
    do {
        Holdfast__V1__ListReservationsResponse *reply;

        cr_assert_eq(holdfast_v1_quota_service_list_reservations(channel, NULL, &asked, &reply,
                                                                 NULL),
                     STUB_OK);
        cr_assert_leq(protobuf_c_message_get_packed_size(&reply->base), 1 << 20);
        cr_assert_gt(reply->n_reservations, 0);
        found += reply->n_reservations;
        snprintf(token, sizeof(token), "%s", reply->next_page_token);
        FREE(reply);
        pages++;
    } while (token[0]);
    cr_assert_eq(found, HOLDS);
    cr_assert_gt(pages, 1);
}

/* --- GetReservation --------------------------------------------------------------------------- */

static int state_of(char *job)
{
    Holdfast__V1__GetReservationRequest request = HOLDFAST__V1__GET_RESERVATION_REQUEST__INIT;
    Holdfast__V1__GetReservationResponse *reply;
    int code, state;

    request.tenant = tenant;
    request.job_id = job;
    code = holdfast_v1_quota_service_get_reservation(channel, NULL, &request, &reply, NULL);
    if (code != STUB_OK)
        return -code;
    state = (int)reply->reservation->state;
    cr_assert_str_eq(reply->reservation->tenant, tenant);
    cr_assert_str_eq(reply->reservation->job_id, job);
    FREE(reply);
    return state;
}

static bool is_expired(void *job)
{
    return state_of(job) == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_EXPIRED;
}

Test(reads, reservation_is_told_in_every_state)
{
    static char all[] = "all", job[] = "job", gone[] = "gone", large[] = "large";
    Holdfast__V1__ReleaseRequest release = HOLDFAST__V1__RELEASE_REQUEST__INIT;
    Holdfast__V1__ReleaseResponse *released;

    create_tenant(false);
    put_limit(all, none, tokens, 100);
    cr_assert_eq(state_of(job), -STUB_NOT_FOUND);
    cr_assert_eq(reserve(large, none, 101, 60000), HOLDFAST__V1__DECISION__DECISION_REJECT);
    cr_assert_eq(state_of(large), -STUB_NOT_FOUND, "a rejected job leaves nothing");
    reserve(job, none, 10, 60000);
    cr_assert_eq(state_of(job), HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD);
    release.tenant = tenant;
    release.job_id = job;
    cr_assert_eq(holdfast_v1_quota_service_release(channel, NULL, &release, &released, NULL),
                 STUB_OK);
    FREE(released);
    cr_assert_eq(state_of(job), HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_RELEASED);
    reserve(job, none, 10, 60000);
    cr_assert_eq(state_of(job), HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD);
    commit(job);
    cr_assert_eq(state_of(job), HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED);
    reserve(gone, none, 10, 100);
    cr_assert(fixture_until(5000, is_expired, gone));
}

/* --- Check ------------------------------------------------------------------------------------ */

static int check(int64_t units, int priority)
{
    Holdfast__V1__CheckRequest request = HOLDFAST__V1__CHECK_REQUEST__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts[] = {&amount};
    Holdfast__V1__CheckResponse *reply;
    struct stub_status st = STUB_STATUS_INIT;
    const char *told;
    int decision;

    amount.meter = tokens;
    amount.units = units;
    request.tenant = tenant;
    request.n_amounts = 1;
    request.amounts = amounts;
    request.priority = (Holdfast__V1__Priority)priority;
    cr_assert_eq(holdfast_v1_quota_service_check(channel, NULL, &request, &reply, &st), STUB_OK,
                 "%s", st.message);
    decision = (int)reply->decision;
    told = stub_status_metadata(&st, "holdfast-decision");
    cr_assert_not_null(told);
    cr_assert_str_eq(told, decision == HOLDFAST__V1__DECISION__DECISION_ALLOW  ? "ALLOW"
                           : decision == HOLDFAST__V1__DECISION__DECISION_WARN ? "WARN"
                                                                               : "REJECT");
    cr_assert_eq(reply->n_quotas, 1);
    stub_status_clear(&st);
    FREE(reply);
    return decision;
}

Test(reads, check_says_what_reserve_would_say_and_holds_nothing)
{
    static char all[] = "all", job[] = "job";
    Holdfast__V1__GetUsageResponse *reply;

    create_tenant(false);
    put_limit(all, none, tokens, 100);
    reserve(job, none, 50, 60000);
    cr_assert_eq(check(39, 0), HOLDFAST__V1__DECISION__DECISION_ALLOW);
    cr_assert_eq(check(40, 0), HOLDFAST__V1__DECISION__DECISION_WARN);
    cr_assert_eq(check(50, 0), HOLDFAST__V1__DECISION__DECISION_WARN);
    cr_assert_eq(check(51, 0), HOLDFAST__V1__DECISION__DECISION_REJECT);
    cr_assert_eq(check(41, HOLDFAST__V1__PRIORITY__PRIORITY_DEFERRABLE),
                 HOLDFAST__V1__DECISION__DECISION_REJECT);
    cr_assert_eq(check(101, 0), HOLDFAST__V1__DECISION__DECISION_REJECT);
    reply = usage(none, false, 0, none);
    cr_assert_eq(reply->quotas[0]->held, 50);
    FREE(reply);
}

/* --- while Redis is away ---------------------------------------------------------------------- */

static Holdfast__V1__GetStatusResponse *status(void)
{
    Holdfast__V1__GetStatusRequest request = HOLDFAST__V1__GET_STATUS_REQUEST__INIT;
    Holdfast__V1__GetStatusResponse *reply;

    cr_assert_eq(holdfast_v1_admin_service_get_status(channel, NULL, &request, &reply, NULL),
                 STUB_OK);
    cr_assert_eq(reply->n_stores, 2);
    return reply;
}

static bool redis_is_up(void *wanted)
{
    Holdfast__V1__GetStatusResponse *reply = status();
    bool up = reply->stores[0]->up;

    cr_assert_str_eq(reply->stores[0]->store, "redis");
    cr_assert(reply->stores[1]->up, "Postgres is there");
    FREE(reply);
    return up == *(bool *)wanted;
}

static bool is_counted(void *user)
{
    Holdfast__V1__GetStatusResponse *reply = status();
    bool counted = reply->holds == *(int64_t *)user;

    FREE(reply);
    return counted;
}

/* The count is some seconds old; holds of the tests before may still be on their way out of it. */
static int64_t settled_holds(void)
{
    int64_t begun_us = fixture_now_us();
    int64_t since_us = begun_us;
    int64_t holds = -1;

    while (fixture_now_us() - since_us < 3000000 && fixture_now_us() - begun_us < 20000000) {
        Holdfast__V1__GetStatusResponse *reply = status();

        if (reply->holds != holds)
            since_us = fixture_now_us();
        holds = reply->holds;
        FREE(reply);
        usleep(50000);
    }
    return holds;
}

Test(reads, status_counts_the_live_holds)
{
    static char all[] = "all", one[] = "one", two[] = "two";
    int64_t expected = settled_holds() + 2;
    Holdfast__V1__GetStatusResponse *reply = status();

    cr_assert_gt(strlen(reply->server), 0);
    cr_assert_gt(strlen(reply->version), 0);
    FREE(reply);
    create_tenant(false);
    put_limit(all, none, tokens, 100);
    reserve(one, none, 1, 60000);
    reserve(two, none, 1, 60000);
    cr_assert(fixture_until(10000, is_counted, &expected));
}

static bool usage_is_whole(void *user)
{
    Holdfast__V1__GetUsageResponse *reply = usage(none, false, 0, none);
    bool whole = !reply->degraded;

    (void)user;
    FREE(reply);
    return whole;
}

Test(reads, reads_say_what_they_know_while_redis_is_away)
{
    static char all[] = "all", done[] = "done", held[] = "held";
    Holdfast__V1__GetUsageResponse *reply;
    bool up = false;

    create_tenant(false);
    put_limit(all, none, tokens, 100);
    reserve(done, none, 10, 60000);
    commit(done);
    reserve(held, none, 10, 60000);
    fixture_stores("stop-redis", NULL);
    cr_assert(fixture_until(5000, redis_is_up, &up));
    reply = usage(none, false, 0, none);
    cr_assert(reply->degraded);
    cr_assert(reply->quotas[0]->held_is_upper_bound);
    cr_assert_geq(reply->quotas[0]->held, 10);
    cr_assert_eq(reply->quotas[0]->committed, 10);
    FREE(reply);
    cr_assert_eq(state_of(done), HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED);
    cr_assert_eq(state_of(held), -STUB_UNAVAILABLE);
    fixture_stores("start-redis", NULL);
    up = true;
    cr_assert(fixture_until(5000, redis_is_up, &up));
    cr_assert(fixture_until(5000, usage_is_whole, NULL)); /* the server asks Redis again */
}
