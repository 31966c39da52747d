#include "tests/rpc/edge.h"

#include "base/amount.h"

#include "google/rpc/error_details.pb-c.h"
#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.stub.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct edge edge;
static struct stub_status st;

static void set_up(void)
{
    edge_start(&edge);
}

static void tear_down(void)
{
    stub_status_clear(&st);
    edge_stop(&edge);
}

TestSuite(service, .init = set_up, .fini = tear_down);

static char tenant[] = "acme", job[] = "job-1", meter[] = "tokens", bad_name[] = "No/Name";

static Holdfast__V1__Amount one_amount = HOLDFAST__V1__AMOUNT__INIT;
static Holdfast__V1__Amount *one_list[] = {&one_amount};

static Holdfast__V1__ReserveRequest good_reserve(void)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;

    one_amount.meter = meter;
    one_amount.units = 60;
    request.tenant = tenant;
    request.job_id = job;
    request.n_amounts = 1;
    request.amounts = one_list;
    return request;
}

static int reserve(const Holdfast__V1__ReserveRequest *request)
{
    Holdfast__V1__ReserveResponse *reply = NULL;

    stub_status_clear(&st);
    return holdfast_v1_quota_service_reserve(edge.channel, NULL, request, &reply, &st);
}

Test(service, reserve_names_every_bad_field_at_once)
{
    Holdfast__V1__ReserveRequest request = good_reserve();
    Holdfast__V1__ReserveRequest__LabelsEntry label =
        HOLDFAST__V1__RESERVE_REQUEST__LABELS_ENTRY__INIT;
    Holdfast__V1__ReserveRequest__LabelsEntry *labels[] = {&label};
    Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
    char scope[] = "a//b", long_id[300];

    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    ttl.seconds = 90000;
    request.tenant = bad_name;
    request.scope = scope;
    request.job_id = long_id;
    one_amount.units = -1;
    request.ttl = &ttl;
    request.priority = 77;
    request.mode = HOLDFAST__V1__RESERVE_MODE__RESERVE_MODE_FORCE;
    request.n_labels = 1;
    request.labels = labels;
    cr_assert_eq(reserve(&request), STUB_INVALID_ARGUMENT);
    cr_assert(edge_says(&st, STUB_INVALID_ARGUMENT, "INVALID_FIELD"));
    cr_assert_eq(edge_named(&st), 8);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "scope") && edge_names(&st, "job_id"));
    cr_assert(edge_names(&st, "amounts[0].units") && edge_names(&st, "ttl"));
    cr_assert(edge_names(&st, "priority") && edge_names(&st, "mode") && edge_names(&st, "labels"));
}

Test(service, strings_that_are_not_utf8_are_malformed_and_named)
{
    Holdfast__V1__ReserveRequest request = good_reserve();
    char broken[] = "caf\xff";

    request.job_id = broken;
    cr_assert_eq(reserve(&request), STUB_INVALID_ARGUMENT);
    cr_assert(edge_says(&st, STUB_INVALID_ARGUMENT, "MALFORMED_MESSAGE"));
    cr_assert(edge_names(&st, "job_id"));
}

Test(service, draining_server_refuses_and_says_when_to_try_again)
{
    Holdfast__V1__ReserveRequest request = good_reserve();
    ProtobufCMessage *retry;

    atomic_store(&edge.services.draining, true);
    cr_assert_eq(reserve(&request), STUB_UNAVAILABLE);
    cr_assert(edge_says(&st, STUB_UNAVAILABLE, "DRAINING"));
    retry = stub_status_detail(&st, &google__rpc__retry_info__descriptor);
    cr_assert_not_null(retry);
    protobuf_c_message_free_unpacked(retry, NULL);
}

/* --- which job -------------------------------------------------------------------------------- */

static int commit(char *by_tenant, char *by_job, char *by_token)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    Holdfast__V1__CommitResponse *reply = NULL;

    request.tenant = by_tenant;
    request.job_id = by_job;
    request.reservation_id = by_token;
    stub_status_clear(&st);
    return holdfast_v1_quota_service_commit(edge.channel, NULL, &request, &reply, &st);
}

Test(service, job_is_named_by_tenant_and_id_or_by_token)
{
    static char none[] = "";

    cr_assert_eq(commit(none, none, none), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "job_id"));
    cr_assert_eq(commit(tenant, none, none), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "job_id"));
    cr_assert_eq(edge_named(&st), 1);
}

Test(service, token_must_be_genuine_and_agree)
{
    char *token = edge_token(&edge, "acme", "job-1");
    char other_tenant[] = "other", other_job[] = "job-2", nonsense[] = "hf1.AAAA";
    char *altered = strdup(token);
    static char none[] = "";

    altered[20] = altered[20] == 'A' ? 'B' : 'A';
    cr_assert_eq(commit(other_tenant, job, token), STUB_INVALID_ARGUMENT);
    cr_assert(edge_says(&st, STUB_INVALID_ARGUMENT, "INVALID_FIELD"));
    cr_assert(edge_names(&st, "reservation_id"));
    cr_assert_eq(commit(tenant, other_job, token), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "reservation_id"));
    cr_assert_eq(commit(none, other_job, token), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "reservation_id"));
    cr_assert_eq(commit(tenant, job, altered), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "reservation_id"));
    cr_assert_eq(commit(none, none, altered), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "reservation_id"));
    cr_assert_eq(commit(none, none, nonsense), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "reservation_id"));
    cr_assert_null(strstr(st.message, token), "a token is never repeated");
    free(altered);
    free(token);
}

Test(service, commit_checks_the_list_of_what_was_used)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    Holdfast__V1__ActualAmount used[3] = {HOLDFAST__V1__ACTUAL_AMOUNT__INIT,
                                          HOLDFAST__V1__ACTUAL_AMOUNT__INIT,
                                          HOLDFAST__V1__ACTUAL_AMOUNT__INIT};
    Holdfast__V1__ActualAmount *list[] = {&used[0], &used[1], &used[2]};
    Holdfast__V1__PartialCommit partial = HOLDFAST__V1__PARTIAL_COMMIT__INIT;
    Holdfast__V1__CommitResponse *reply = NULL;

    request.tenant = tenant;
    request.job_id = job;
    used[0].meter = used[1].meter = meter;
    used[0].units = AMOUNT_MAX + 1;
    used[2].meter = bad_name;
    used[2].overrun = 9;
    request.n_actual = 3;
    request.actual = list;
    request.partial = &partial;
    cr_assert_eq(holdfast_v1_quota_service_commit(edge.channel, NULL, &request, &reply, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "actual[0].units") && edge_names(&st, "actual[1].meter"));
    cr_assert(edge_names(&st, "actual[2].meter") && edge_names(&st, "actual[2].overrun"));
    cr_assert(edge_names(&st, "partial"));
    cr_assert_eq(edge_named(&st), 5);
}

Test(service, release_and_extend_check_their_own_fields)
{
    Holdfast__V1__ReleaseRequest release = HOLDFAST__V1__RELEASE_REQUEST__INIT;
    Holdfast__V1__ReleaseResponse *released = NULL;
    Holdfast__V1__ExtendRequest extend = HOLDFAST__V1__EXTEND_REQUEST__INIT;
    Holdfast__V1__ExtendResponse *extended = NULL;
    Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
    char note[300];

    memset(note, 'n', sizeof(note) - 1);
    note[sizeof(note) - 1] = '\0';
    release.tenant = tenant;
    release.note = note;
    cr_assert_eq(holdfast_v1_quota_service_release(edge.channel, NULL, &release, &released, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "note") && edge_names(&st, "job_id"));
    extend.tenant = tenant;
    extend.job_id = job;
    extend.ttl = &ttl;
    extend.n_raise_to = 1;
    extend.raise_to = one_list;
    cr_assert_eq(holdfast_v1_quota_service_extend(edge.channel, NULL, &extend, &extended, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "ttl") && edge_names(&st, "raise_to"));
}

/* --- reads ------------------------------------------------------------------------------------ */

Test(service, reads_check_their_fields)
{
    Holdfast__V1__CheckRequest check = HOLDFAST__V1__CHECK_REQUEST__INIT;
    Holdfast__V1__CheckResponse *checked = NULL;
    Holdfast__V1__GetReservationRequest get = HOLDFAST__V1__GET_RESERVATION_REQUEST__INIT;
    Holdfast__V1__GetReservationResponse *got = NULL;
    Holdfast__V1__ListReservationsRequest list = HOLDFAST__V1__LIST_RESERVATIONS_REQUEST__INIT;
    Holdfast__V1__ListReservationsResponse *listed = NULL;
    Holdfast__V1__GetUsageRequest usage = HOLDFAST__V1__GET_USAGE_REQUEST__INIT;
    Holdfast__V1__GetUsageResponse *used = NULL;
    char page[] = "x";

    cr_assert_eq(holdfast_v1_quota_service_check(edge.channel, NULL, &check, &checked, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "amounts"));
    cr_assert_eq(holdfast_v1_quota_service_get_reservation(edge.channel, NULL, &get, &got, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "job_id"));
    list.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_EXPIRED;
    list.page_size = -1;
    list.page_token = page;
    cr_assert_eq(
        holdfast_v1_quota_service_list_reservations(edge.channel, NULL, &list, &listed, &st),
        STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "state"));
    cr_assert(edge_names(&st, "page_size") && edge_names(&st, "page_token"));
    usage.meter = bad_name;
    cr_assert_eq(holdfast_v1_quota_service_get_usage(edge.channel, NULL, &usage, &used, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "meter"));
}

Test(service, watch_checks_filter_and_position)
{
    Holdfast__V1__WatchRequest request = HOLDFAST__V1__WATCH_REQUEST__INIT;
    Holdfast__V1__EventKind kinds[] = {HOLDFAST__V1__EVENT_KIND__EVENT_KIND_SOFT_STOP, 0, 99};
    char *meters[] = {meter, bad_name};
    struct stub_stream *stream;
    ProtobufCMessage *message;

    request.n_kinds = 3;
    request.kinds = kinds;
    request.n_meters = 2;
    request.meters = meters;
    request.start_case = HOLDFAST__V1__WATCH_REQUEST__START_AFTER_SEQ;
    request.after_seq = -1;
    stream = holdfast_v1_quota_service_watch_open(edge.channel, NULL, &request);
    cr_assert_eq(stub_stream_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INVALID_ARGUMENT);
    cr_assert(edge_says(&st, STUB_INVALID_ARGUMENT, "INVALID_FIELD"));
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "after_seq"));
    cr_assert(edge_names(&st, "kinds[1]") && edge_names(&st, "kinds[2]"));
    cr_assert(edge_names(&st, "meters[1]"));
}

/* --- admin ------------------------------------------------------------------------------------ */

static int put(Holdfast__V1__Limit *limit)
{
    Holdfast__V1__PutLimitRequest request = HOLDFAST__V1__PUT_LIMIT_REQUEST__INIT;
    Holdfast__V1__PutLimitResponse *reply = NULL;

    request.limit = limit;
    stub_status_clear(&st);
    return holdfast_v1_admin_service_put_limit(edge.channel, NULL, &request, &reply, &st);
}

static Holdfast__V1__Limit good_limit(void)
{
    static char name[] = "tokens-month";
    Holdfast__V1__Limit limit = HOLDFAST__V1__LIMIT__INIT;

    limit.limit_id = name;
    limit.tenant = tenant;
    limit.meter = meter;
    limit.period = HOLDFAST__V1__PERIOD__PERIOD_MONTH;
    limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
    limit.units = 1000;
    return limit;
}

static void expect_bad(Holdfast__V1__Limit limit, const char *field)
{
    cr_assert_eq(put(&limit), STUB_INVALID_ARGUMENT, "%s", field);
    cr_assert(edge_names(&st, field), "%s", field);
    cr_assert_eq(edge_named(&st), 1, "%s", field);
}

Test(service, put_limit_names_each_wrong_field)
{
    Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Protobuf__Timestamp anchor = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    char space[] = "Europe/B erlin", zone[] = "Europe/Berlin", long_zone[66] = "";
    Holdfast__V1__Limit limit;

    memset(long_zone, 'A', 65);

#define BAD(field, change)                                                                         \
    do {                                                                                           \
        limit = good_limit();                                                                      \
        change;                                                                                    \
        expect_bad(limit, field);                                                                  \
    } while (0)
    BAD("limit.limit_id", limit.limit_id = bad_name);
    BAD("limit.tenant", limit.tenant = bad_name);
    BAD("limit.scope", limit.scope = bad_name);
    BAD("limit.meter", limit.meter = bad_name);
    BAD("limit.meter_kind", limit.meter_kind = HOLDFAST__V1__METER_KIND__METER_KIND_GAUGE);
    BAD("limit.period", limit.period = HOLDFAST__V1__PERIOD__PERIOD_UNSPECIFIED);
    BAD("limit.period", limit.period = 42);
    BAD("limit.units", limit.bound_case = HOLDFAST__V1__LIMIT__BOUND__NOT_SET);
    BAD("limit.units", limit.units = -1);
    BAD("limit.unlimited",
        (limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED, limit.unlimited = 0));
    BAD("limit.soft_percent", limit.soft_percent = 101);
    BAD("limit.soft_percent", limit.soft_percent = -1);
    BAD("limit.overage_units",
        (limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS,
         limit.overage_units = -1));
    BAD("limit.overage_units", (limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS,
                                limit.overage_units = AMOUNT_MAX));
    BAD("limit.overage_percent", (limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT,
                                  limit.overage_percent = 1001));
    BAD("limit.overage_percent", (limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT,
                                  limit.overage_percent = 10, limit.units = AMOUNT_MAX));
    BAD("limit.overage_unlimited",
        (limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED,
         limit.overage_unlimited = 0));
    BAD("limit.overage_units",
        (limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED, limit.unlimited = 1,
         limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS, limit.overage_units = 1));
    BAD("limit.enforcement", limit.enforcement = HOLDFAST__V1__ENFORCEMENT__ENFORCEMENT_SHADOW);
    BAD("limit.max_ttl", limit.max_ttl = &ttl);
    BAD("limit.redis_away", limit.redis_away = 4);
    BAD("limit.redis_away_units",
        limit.redis_away = HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_OPEN);
    BAD("limit.redis_away_units", (limit.redis_away = HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_OPEN,
                                   limit.redis_away_units = -1));
    BAD("limit.redis_away_units", limit.redis_away_units = 1);
    BAD("limit.time_zone", limit.time_zone = space);
    BAD("limit.time_zone", limit.time_zone = long_zone);
    BAD("limit.time_zone", (limit.time_zone = zone,
                            limit.period = HOLDFAST__V1__PERIOD__PERIOD_HOUR));
    BAD("limit.anchor_time", limit.anchor_time = &anchor); /* of 1970 */
    anchor.seconds = 1767225630;
    BAD("limit.anchor_time", limit.anchor_time = &anchor);
    anchor.seconds = 1767225600;
    BAD("limit.anchor_time", (limit.anchor_time = &anchor,
                              limit.period = HOLDFAST__V1__PERIOD__PERIOD_MINUTE));
    BAD("limit.anchor_time", (limit.anchor_time = &anchor,
                              limit.period = HOLDFAST__V1__PERIOD__PERIOD_NEVER));
    anchor.nanos = 1;
    BAD("limit.anchor_time", limit.anchor_time = &anchor);
#undef BAD
    cr_assert_eq(put(NULL), STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "limit"));
}

Test(service, tenants_are_checked_with_their_note)
{
    Holdfast__V1__CreateTenantRequest create = HOLDFAST__V1__CREATE_TENANT_REQUEST__INIT;
    Holdfast__V1__CreateTenantResponse *created = NULL;
    Holdfast__V1__UpdateTenantRequest update = HOLDFAST__V1__UPDATE_TENANT_REQUEST__INIT;
    Holdfast__V1__UpdateTenantResponse *updated = NULL;
    Holdfast__V1__Tenant made = HOLDFAST__V1__TENANT__INIT;
    Holdfast__V1__ChangeNote note = HOLDFAST__V1__CHANGE_NOTE__INIT;
    char request_id[] = "caf\xc3\xa9";

    cr_assert_eq(
        holdfast_v1_admin_service_create_tenant(edge.channel, NULL, &create, &created, &st),
        STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant"));
    made.tenant = bad_name;
    made.state = 5;
    made.plan = tenant;
    note.request_id = request_id;
    update.tenant = &made;
    update.note = &note;
    stub_status_clear(&st);
    cr_assert_eq(
        holdfast_v1_admin_service_update_tenant(edge.channel, NULL, &update, &updated, &st),
        STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant.tenant") && edge_names(&st, "tenant.state"));
    cr_assert(edge_names(&st, "tenant.plan") && edge_names(&st, "note.request_id"));
}

Test(service, lists_and_deletes_are_checked)
{
    Holdfast__V1__ListTenantsRequest tenants = HOLDFAST__V1__LIST_TENANTS_REQUEST__INIT;
    Holdfast__V1__ListTenantsResponse *tenants_reply = NULL;
    Holdfast__V1__ListLimitsRequest limits = HOLDFAST__V1__LIST_LIMITS_REQUEST__INIT;
    Holdfast__V1__ListLimitsResponse *limits_reply = NULL;
    Holdfast__V1__DeleteLimitRequest delete = HOLDFAST__V1__DELETE_LIMIT_REQUEST__INIT;
    Holdfast__V1__DeleteLimitResponse *deleted = NULL;

    tenants.prefix = bad_name;
    tenants.page_size = -7;
    cr_assert_eq(
        holdfast_v1_admin_service_list_tenants(edge.channel, NULL, &tenants, &tenants_reply, &st),
        STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "prefix") && edge_names(&st, "page_size"));
    cr_assert_eq(
        holdfast_v1_admin_service_list_limits(edge.channel, NULL, &limits, &limits_reply, &st),
        STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant"));
    cr_assert_eq(
        holdfast_v1_admin_service_delete_limit(edge.channel, NULL, &delete, &deleted, &st),
        STUB_INVALID_ARGUMENT);
    cr_assert(edge_names(&st, "tenant") && edge_names(&st, "limit_id"));
}
