#include "tests/integration/caller.h"

#include "tests/support/fixture.h"

#include "google/rpc/error_details.pb-c.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* protobuf-c wants char * and never writes through it. */
static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = text ? text : ""};

    return cast.out;
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

static struct stub_call_options options_of(const struct ask *ask)
{
    return (struct stub_call_options){.timeout_us = ask->timeout_ms * 1000};
}

static Google__Protobuf__Duration duration_of(int64_t ms)
{
    Google__Protobuf__Duration duration = GOOGLE__PROTOBUF__DURATION__INIT;

    duration.seconds = ms / 1000;
    duration.nanos = (int32_t)(ms % 1000 * 1000000);
    return duration;
}

static void read_info(const struct stub_status *status, struct answer *ret)
{
    Google__Rpc__ErrorInfo *info = (Google__Rpc__ErrorInfo *)(void *)stub_status_detail(
        status, &google__rpc__error_info__descriptor);

    if (!info)
        return;
    copy(ret->reason, sizeof(ret->reason), info->reason);
    for (size_t i = 0; i < info->n_metadata; i++) {
        if (strcmp(info->metadata[i]->key, "effect") != 0)
            continue;
        ret->effect_stated = true;
        ret->effect_unknown = strcmp(info->metadata[i]->value, "unknown") == 0;
    }
    protobuf_c_message_free_unpacked(&info->base, NULL);
}

static void read_field(const struct stub_status *status, struct answer *ret)
{
    Google__Rpc__BadRequest *bad = (Google__Rpc__BadRequest *)(void *)stub_status_detail(
        status, &google__rpc__bad_request__descriptor);

    if (!bad)
        return;
    if (bad->n_field_violations > 0)
        copy(ret->field, sizeof(ret->field), bad->field_violations[0]->field);
    protobuf_c_message_free_unpacked(&bad->base, NULL);
}

/* Takes what every answer has and clears the status. */
static void read_status(struct stub_status *status, int code, struct answer *ret)
{
    ret->code = code;
    copy(ret->text, sizeof(ret->text), status->message);
    if (code != STUB_OK) {
        read_info(status, ret);
        read_field(status, ret);
    }
    stub_status_clear(status);
}

static void read_committed(size_t count, Holdfast__V1__CommittedAmount *const *amounts,
                           struct answer *ret)
{
    for (size_t i = 0; i < count; i++) {
        ret->committed += amounts[i]->committed;
        ret->debt += amounts[i]->debt;
    }
}

static void read_reasons(const Holdfast__V1__ReserveResponse *reply, struct answer *ret)
{
    size_t len = 0;

    for (size_t i = 0; i < reply->n_reasons && len < sizeof(ret->reasons); i++) {
        const Holdfast__V1__Reason *reason = reply->reasons[i];

        len += (size_t)snprintf(ret->reasons + len, sizeof(ret->reasons) - len, "%d %s %s %s %s; ",
                                (int)reason->code, reason->limit_id, reason->scope, reason->meter,
                                reason->message);
    }
}

void call_reserve(struct stub_channel *channel, const struct ask *ask, struct answer *ret)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__Amount amounts[ASK_METERS_MAX], *pointers[ASK_METERS_MAX];
    Google__Protobuf__Duration ttl = duration_of(ask->ttl_ms);
    struct stub_call_options options = options_of(ask);
    struct stub_status status = STUB_STATUS_INIT;
    Holdfast__V1__ReserveResponse *reply;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < ask->meters_count; i++) {
        holdfast__v1__amount__init(&amounts[i]);
        amounts[i].meter = text_of(ask->meters[i]);
        amounts[i].units = ask->units[i];
        pointers[i] = &amounts[i];
    }
    request.tenant = text_of(ask->tenant);
    request.scope = text_of(ask->scope);
    request.job_id = text_of(ask->job);
    request.n_amounts = ask->meters_count;
    request.amounts = pointers;
    request.ttl = ask->ttl_ms ? &ttl : NULL;
    request.brief = true;
    read_status(&status, holdfast_v1_quota_service_reserve(channel, &options, &request, &reply, &status),
                ret);
    if (!reply)
        return;
    ret->decision = (int)reply->decision;
    read_reasons(reply, ret);
    ret->state = (int)reply->state;
    ret->replayed = reply->replayed;
    ret->degraded = reply->degraded;
    copy(ret->id, sizeof(ret->id), reply->reservation_id);
    copy(ret->attempt, sizeof(ret->attempt), reply->attempt);
    read_committed(reply->n_committed, reply->committed, ret);
    protobuf_c_message_free_unpacked(&reply->base, NULL);
}

void call_commit(struct stub_channel *channel, const struct ask *ask, struct answer *ret)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    Holdfast__V1__ActualAmount amounts[ASK_METERS_MAX], *pointers[ASK_METERS_MAX];
    struct stub_call_options options = options_of(ask);
    struct stub_status status = STUB_STATUS_INIT;
    Holdfast__V1__CommitResponse *reply;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < ask->meters_count; i++) {
        holdfast__v1__actual_amount__init(&amounts[i]);
        amounts[i].meter = text_of(ask->meters[i]);
        amounts[i].units = ask->units[i];
        pointers[i] = &amounts[i];
    }
    request.tenant = text_of(ask->tenant);
    request.job_id = text_of(ask->job);
    request.reservation_id = text_of(ask->id);
    request.n_actual = ask->meters_count;
    request.actual = pointers;
    request.brief = true;
    read_status(&status, holdfast_v1_quota_service_commit(channel, &options, &request, &reply, &status),
                ret);
    if (!reply)
        return;
    ret->state = (int)reply->state;
    ret->replayed = reply->replayed;
    ret->late = reply->late;
    copy(ret->attempt, sizeof(ret->attempt), reply->attempt);
    read_committed(reply->n_committed, reply->committed, ret);
    protobuf_c_message_free_unpacked(&reply->base, NULL);
}

void call_release(struct stub_channel *channel, const struct ask *ask, struct answer *ret)
{
    Holdfast__V1__ReleaseRequest request = HOLDFAST__V1__RELEASE_REQUEST__INIT;
    struct stub_call_options options = options_of(ask);
    struct stub_status status = STUB_STATUS_INIT;
    Holdfast__V1__ReleaseResponse *reply;

    memset(ret, 0, sizeof(*ret));
    request.tenant = text_of(ask->tenant);
    request.job_id = text_of(ask->job);
    request.reservation_id = text_of(ask->id);
    request.brief = true;
    read_status(&status, holdfast_v1_quota_service_release(channel, &options, &request, &reply, &status),
                ret);
    if (!reply)
        return;
    ret->state = (int)reply->state;
    ret->replayed = reply->replayed;
    copy(ret->attempt, sizeof(ret->attempt), reply->attempt);
    protobuf_c_message_free_unpacked(&reply->base, NULL);
}

void call_extend(struct stub_channel *channel, const struct ask *ask, struct answer *ret)
{
    Holdfast__V1__ExtendRequest request = HOLDFAST__V1__EXTEND_REQUEST__INIT;
    Google__Protobuf__Duration ttl = duration_of(ask->ttl_ms);
    struct stub_call_options options = options_of(ask);
    struct stub_status status = STUB_STATUS_INIT;
    Holdfast__V1__ExtendResponse *reply;

    memset(ret, 0, sizeof(*ret));
    request.tenant = text_of(ask->tenant);
    request.job_id = text_of(ask->job);
    request.reservation_id = text_of(ask->id);
    request.ttl = ask->ttl_ms ? &ttl : NULL;
    read_status(&status, holdfast_v1_quota_service_extend(channel, &options, &request, &reply, &status),
                ret);
    if (!reply)
        return;
    ret->decision = (int)reply->decision;
    copy(ret->id, sizeof(ret->id), reply->reservation_id);
    copy(ret->attempt, sizeof(ret->attempt), reply->attempt);
    if (reply->expire_time)
        ret->expire_ms = reply->expire_time->seconds * 1000 + reply->expire_time->nanos / 1000000;
    ret->degraded = reply->degraded;
    protobuf_c_message_free_unpacked(&reply->base, NULL);
}

void call_get(struct stub_channel *channel, const struct ask *ask, struct answer *ret)
{
    Holdfast__V1__GetReservationRequest request = HOLDFAST__V1__GET_RESERVATION_REQUEST__INIT;
    struct stub_call_options options = options_of(ask);
    struct stub_status status = STUB_STATUS_INIT;
    Holdfast__V1__GetReservationResponse *reply;

    memset(ret, 0, sizeof(*ret));
    request.tenant = text_of(ask->tenant);
    request.job_id = text_of(ask->job);
    request.reservation_id = text_of(ask->id);
    read_status(&status,
                holdfast_v1_quota_service_get_reservation(channel, &options, &request, &reply, &status),
                ret);
    if (!reply)
        return;
    if (reply->reservation) {
        ret->state = (int)reply->reservation->state;
        ret->late = reply->reservation->late;
        copy(ret->attempt, sizeof(ret->attempt), reply->reservation->attempt);
        read_committed(reply->reservation->n_committed, reply->reservation->committed, ret);
    }
    protobuf_c_message_free_unpacked(&reply->base, NULL);
}

bool admitted(const struct answer *answer)
{
    return answer->code == STUB_OK && (answer->decision == ALLOW || answer->decision == WARN);
}

bool passing(const struct answer *answer)
{
    switch (answer->code) {
    case STUB_UNAVAILABLE:
    case STUB_DEADLINE_EXCEEDED:
    case STUB_ABORTED:
    case STUB_RESOURCE_EXHAUSTED:
        return true;
    case STUB_CANCELLED:
    case STUB_UNKNOWN:
    case STUB_INTERNAL:
        return !answer->effect_stated; /* a connection that broke in the middle of a call */
    default:
        return false;
    }
}

/* ---- plans ---- */

void plan_tenant(struct stub_channel *channel, const char *tenant)
{
    Holdfast__V1__CreateTenantRequest request = HOLDFAST__V1__CREATE_TENANT_REQUEST__INIT;
    Holdfast__V1__Tenant made = HOLDFAST__V1__TENANT__INIT;
    Holdfast__V1__ChangeNote note = HOLDFAST__V1__CHANGE_NOTE__INIT;
    struct stub_status status = STUB_STATUS_INIT;
    Holdfast__V1__CreateTenantResponse *reply;

    made.tenant = text_of(tenant);
    note.actor = text_of("test");
    note.reason = text_of("an integration test");
    request.tenant = &made;
    request.note = &note;
    cr_assert(holdfast_v1_admin_service_create_tenant(channel, NULL, &request, &reply, &status) ==
                  STUB_OK,
              "CreateTenant %s: %s", tenant, status.message);
    protobuf_c_message_free_unpacked(&reply->base, NULL);
    stub_status_clear(&status);
}

static int put(struct stub_channel *channel, const char *tenant, const char *limit,
               const char *scope, const char *meter, int period, int64_t units,
               struct stub_status *status)
{
    Holdfast__V1__PutLimitRequest request = HOLDFAST__V1__PUT_LIMIT_REQUEST__INIT;
    Holdfast__V1__Limit made = HOLDFAST__V1__LIMIT__INIT;
    Holdfast__V1__ChangeNote note = HOLDFAST__V1__CHANGE_NOTE__INIT;
    Holdfast__V1__PutLimitResponse *reply;
    int code;

    made.tenant = text_of(tenant);
    made.limit_id = text_of(limit);
    made.scope = text_of(scope);
    made.meter = text_of(meter);
    made.period = (Holdfast__V1__Period)period;
    made.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
    made.units = units;
    if (units < 0) {
        made.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED;
        made.unlimited = true;
    }
    note.actor = text_of("test");
    note.reason = text_of("an integration test");
    request.limit = &made;
    request.note = &note;
    code = holdfast_v1_admin_service_put_limit(channel, NULL, &request, &reply, status);
    if (reply)
        protobuf_c_message_free_unpacked(&reply->base, NULL);
    return code;
}

int put_limit(struct stub_channel *channel, const char *tenant, const char *limit,
              const char *scope, const char *meter, int period, int64_t units)
{
    struct stub_status status = STUB_STATUS_INIT;
    int code = put(channel, tenant, limit, scope, meter, period, units, &status);

    stub_status_clear(&status);
    return code;
}

void plan_limit(struct stub_channel *channel, const char *tenant, const char *limit,
                const char *scope, const char *meter, int period, int64_t units)
{
    struct stub_status status = STUB_STATUS_INIT;
    int code = put(channel, tenant, limit, scope, meter, period, units, &status);

    cr_assert(code == STUB_OK, "PutLimit %s of %s: %s", limit, tenant, status.message);
    stub_status_clear(&status);
}

/* ---- books ---- */

int64_t tenant_number(const char *tenant)
{
    return fixture_sql("SELECT tenant_id FROM tenant WHERE name = '%s'", tenant);
}

static int64_t shard_of(const char *tenant)
{
    return fixture_sql("SELECT shard FROM tenant WHERE name = '%s'", tenant);
}

int64_t books_held(const char *tenant)
{
    int64_t shard = shard_of(tenant), number = tenant_number(tenant);

    /* H stands in front of the text of each quota; holds have a "=", the others are v, q and x. */
    return fixture_redis("EVAL local\ts,a=0,redis.call('HGETALL',KEYS[1])for\ti=1,#a,2\tdo\t"
                         "if(a[i]:find'^%%d+:')then\ts=s+a[i+1]:match'%%d+'end\tend\treturn\ts 1 "
                         "q:{%" PRId64 "}:2:t:%" PRId64,
                         shard / 16, number);
}

int64_t books_holds(const char *tenant)
{
    int64_t shard = shard_of(tenant), number = tenant_number(tenant);

    return fixture_redis("EVAL local\ts=0;for\t_,f\tin\tipairs(redis.call('HKEYS',KEYS[1]))do\t"
                         "s=s+(f:find('=',1,true)and\t1\tor\t0)end\treturn\ts 1 "
                         "q:{%" PRId64 "}:2:t:%" PRId64,
                         shard / 16, number);
}

int64_t books_rows(const char *tenant)
{
    return fixture_sql("SELECT count(*) FROM ledger WHERE tenant_id = %" PRId64,
                       tenant_number(tenant));
}

int64_t books_units(const char *tenant)
{
    return fixture_sql("SELECT coalesce(sum(amount + debt), 0) FROM ledger"
                       " WHERE tenant_id = %" PRId64,
                       tenant_number(tenant));
}

/* One statement, so one snapshot: the equations hold while others write. */
void books_balance(const char *tenant)
{
    int64_t number = tenant_number(tenant);
    const char *wrong = fixture_sql_text(
        "WITH counted AS ("
        "  SELECT counted[i] limit_id, counted[i + 1] start, sum(counted[i + 3] + counted[i + 4]) s"
        "  FROM ledger, generate_series(1, cardinality(counted), 5) i"
        "  WHERE tenant_id = %" PRId64 " GROUP BY 1, 2),"
        " old AS (SELECT limit_id, period_start_ms start, sum(granted - returned - spent) x"
        "  FROM old_lease WHERE tenant_id = %" PRId64 " GROUP BY 1, 2)"
        " SELECT coalesce(string_agg(format('limit %%s: ledger %%s, committed %%s, debt %%s, leased %%s,"
        " out %%s, old %%s, cap %%s', q.limit_id, c.s, committed, debt, leased,"
        " granted - returned - spent, o.x, cap_amount), '; '), '')"
        " FROM quota q LEFT JOIN counted c ON c.limit_id = q.limit_id AND c.start = period_start_ms"
        " LEFT JOIN old o ON o.limit_id = q.limit_id AND o.start = period_start_ms"
        " WHERE q.tenant_id = %" PRId64 " AND (coalesce(c.s, 0) <> committed + debt"
        " OR leased <> granted - returned - spent + coalesce(o.x, 0))",
        number, number, number);

    cr_assert(*wrong == '\0', "the books of %s: %s", tenant, wrong);
}

static bool nothing_held(void *user)
{
    return books_held(user) == 0;
}

bool books_free_within(const char *tenant, int64_t ms)
{
    return fixture_until(ms, nothing_held, text_of(tenant));
}

void books_read(const char *tenant,
                void (*entry)(void *user, const char *job, int64_t units), void *user)
{
    int64_t number = tenant_number(tenant);
    PGconn *connection = PQconnectdb(fixture_env("HOLDFAST_TEST_POSTGRES"));
    char query[160];
    PGresult *result;

    snprintf(query, sizeof(query),
             "SELECT job_id, amount + debt FROM ledger WHERE tenant_id = %" PRId64, number);
    result = PQexec(connection, query);
    cr_assert(PQresultStatus(result) == PGRES_TUPLES_OK, "%s", PQerrorMessage(connection));
    for (int i = 0; i < PQntuples(result); i++)
        entry(user, PQgetvalue(result, i, 0), strtoll(PQgetvalue(result, i, 1), NULL, 10));
    PQclear(result);
    PQfinish(connection);
}

/* ---- the size of a test ---- */

int rounds(int brief, int full)
{
    const char *wanted = getenv("HOLDFAST_TEST_ROUNDS");

    if (!wanted || !*wanted)
        return brief;
    return strcmp(wanted, "full") == 0 ? full : (int)strtol(wanted, NULL, 10);
}

struct member {
    pthread_t thread;
    pthread_barrier_t *begin;
    void (*run)(void *user, int index);
    void *user;
    int index;
};

static void *member_run(void *user)
{
    struct member *member = user;

    pthread_barrier_wait(member->begin);
    member->run(member->user, member->index);
    return NULL;
}

void crowd(int threads, void (*run)(void *user, int index), void *user)
{
    enum { CROWD_MAX = 128 };
    static struct member members[CROWD_MAX];
    pthread_barrier_t begin;

    cr_assert(threads > 0 && threads <= CROWD_MAX);
    pthread_barrier_init(&begin, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        members[i] = (struct member){.begin = &begin, .run = run, .user = user, .index = i};
        cr_assert(pthread_create(&members[i].thread, NULL, member_run, &members[i]) == 0);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(members[i].thread, NULL);
    pthread_barrier_destroy(&begin);
}
