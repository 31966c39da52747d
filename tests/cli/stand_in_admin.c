/*
 * AdminService of the stand-in.
 */
#include "stand_in_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void store_tenant(struct tenant *tenant, const Holdfast__V1__Tenant *from)
{
    snprintf(tenant->name, NAME_BYTES, "%s", from->tenant);
    snprintf(tenant->display_name, NAME_BYTES, "%s", from->display_name);
    tenant->suspended = from->state == HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED;
    tenant->admit_unlimited_meters = from->admit_unlimited_meters;
    tenant->version++;
}

/* True if the change may be made now; else the call was failed. */
static bool may_change(struct stand_in *stand_in, struct stub_call *call)
{
    const char *reason;
    bool may;
    int code;

    pthread_mutex_lock(&stand_in->lock);
    code = stand_in->changes_code;
    reason = stand_in->changes_reason;
    may = stand_in->changes_left != 0;
    if (stand_in->changes_left > 0)
        stand_in->changes_left--;
    stand_in->changes += may;
    pthread_mutex_unlock(&stand_in->lock);
    if (!may)
        fail_call(call, code, reason, NULL);
    return may;
}

static bool is_refused(struct stand_in *stand_in, const char *limit_id)
{
    bool refused;

    pthread_mutex_lock(&stand_in->lock);
    refused = stand_in->refused_limit && strcmp(stand_in->refused_limit, limit_id) == 0;
    pthread_mutex_unlock(&stand_in->lock);
    return refused;
}

static void create_tenant(void *user, struct stub_call *call,
                          const Holdfast__V1__CreateTenantRequest *request)
{
    Holdfast__V1__CreateTenantResponse reply = HOLDFAST__V1__CREATE_TENANT_RESPONSE__INIT;
    struct stand_in *stand_in = user;

    if (failed_on_purpose(stand_in, call))
        return;
    if (find_tenant(stand_in, request->tenant->tenant)) {
        fail_call(call, STUB_ALREADY_EXISTS, "TENANT_EXISTS", NULL);
        return;
    }
    if (!request->validate_only) {
        if (!may_change(stand_in, call))
            return;
        store_tenant(&stand_in->tenants[stand_in->tenants_count++], request->tenant);
    }
    reply.tenant = request->tenant;
    holdfast_v1_admin_service_create_tenant_reply(call, &reply);
}

static void update_tenant(void *user, struct stub_call *call,
                          const Holdfast__V1__UpdateTenantRequest *request)
{
    Holdfast__V1__UpdateTenantResponse reply = HOLDFAST__V1__UPDATE_TENANT_RESPONSE__INIT;
    struct tenant *tenant = find_tenant(user, request->tenant->tenant);

    if (!tenant || number_of(request->tenant->etag) != tenant->version) {
        fail_call(call, STUB_ABORTED, "ETAG_MISMATCH", NULL);
        return;
    }
    if (!request->validate_only) {
        if (!may_change(user, call))
            return;
        store_tenant(tenant, request->tenant);
    }
    holdfast_v1_admin_service_update_tenant_reply(call, &reply);
}

static void list_tenants(void *user, struct stub_call *call,
                         const Holdfast__V1__ListTenantsRequest *request)
{
    Holdfast__V1__ListTenantsResponse reply = HOLDFAST__V1__LIST_TENANTS_RESPONSE__INIT;
    Holdfast__V1__Tenant found = HOLDFAST__V1__TENANT__INIT, *pointer = &found;
    struct tenant *tenant = find_tenant(user, request->prefix);
    char etag[16];

    if (tenant) {
        snprintf(etag, sizeof(etag), "%d", tenant->version);
        found.tenant = tenant->name;
        found.display_name = tenant->display_name;
        found.state = tenant->suspended ? HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED
                                        : HOLDFAST__V1__TENANT_STATE__TENANT_STATE_ACTIVE;
        found.admit_unlimited_meters = tenant->admit_unlimited_meters;
        found.etag = etag;
        reply.tenants = &pointer;
        reply.n_tenants = 1;
    }
    holdfast_v1_admin_service_list_tenants_reply(call, &reply);
}

static Holdfast__V1__Limit *clone_limit(const Holdfast__V1__Limit *limit)
{
    size_t bytes = holdfast__v1__limit__get_packed_size(limit);
    uint8_t *packed = malloc(bytes);
    Holdfast__V1__Limit *clone;

    holdfast__v1__limit__pack(limit, packed);
    clone = holdfast__v1__limit__unpack(NULL, bytes, packed);
    free(packed);
    return clone;
}

static bool is_full(const struct stand_in *stand_in, const char *tenant)
{
    size_t count = 0;

    for (size_t i = 0; i < stand_in->limits_count; i++)
        count += strcmp(stand_in->limits[i].stored->tenant, tenant) == 0;
    return count >= LIMITS_MAX;
}

static void put_limit(void *user, struct stub_call *call,
                      const Holdfast__V1__PutLimitRequest *request)
{
    Holdfast__V1__PutLimitResponse reply = HOLDFAST__V1__PUT_LIMIT_RESPONSE__INIT;
    struct stand_in *stand_in = user;
    struct limit *limit =
        find_limit(stand_in, request->limit->tenant, NULL, request->limit->limit_id);

    if (is_refused(stand_in, request->limit->limit_id)) {
        fail_call(call, STUB_INVALID_ARGUMENT, "INVALID_FIELD", "limit.limit_id");
        return;
    }
    if (!find_tenant(stand_in, request->limit->tenant)) {
        fail_call(call, STUB_NOT_FOUND, "UNKNOWN_TENANT", NULL);
        return;
    }
    if (limit && *request->limit->etag && number_of(request->limit->etag) != limit->version) {
        fail_call(call, STUB_ABORTED, "ETAG_MISMATCH", NULL);
        return;
    }
    if (!limit && is_full(stand_in, request->limit->tenant)) {
        fail_call(call, STUB_RESOURCE_EXHAUSTED, "LIMITS_FULL", NULL);
        return;
    }
    if (request->validate_only) {
        holdfast_v1_admin_service_put_limit_reply(call, &reply);
        return;
    }
    if (!may_change(stand_in, call))
        return;
    if (!limit)
        limit = &stand_in->limits[stand_in->limits_count++];
    if (limit->stored)
        holdfast__v1__limit__free_unpacked(limit->stored, NULL);
    limit->stored = clone_limit(request->limit);
    limit->version++;
    holdfast_v1_admin_service_put_limit_reply(call, &reply);
}

static void delete_limit(void *user, struct stub_call *call,
                         const Holdfast__V1__DeleteLimitRequest *request)
{
    Holdfast__V1__DeleteLimitResponse reply = HOLDFAST__V1__DELETE_LIMIT_RESPONSE__INIT;
    struct stand_in *stand_in = user;
    struct limit *limit = find_limit(stand_in, request->tenant, NULL, request->limit_id);

    if (!limit) {
        fail_call(call, STUB_NOT_FOUND, "UNKNOWN_LIMIT", NULL);
        return;
    }
    if (request->validate_only) {
        holdfast_v1_admin_service_delete_limit_reply(call, &reply);
        return;
    }
    if (!may_change(stand_in, call))
        return;
    holdfast__v1__limit__free_unpacked(limit->stored, NULL);
    *limit = stand_in->limits[--stand_in->limits_count];
    stand_in->limits[stand_in->limits_count] = (struct limit){0};
    holdfast_v1_admin_service_delete_limit_reply(call, &reply);
}

/* One limit a page. */
static void list_limits(void *user, struct stub_call *call,
                        const Holdfast__V1__ListLimitsRequest *request)
{
    Holdfast__V1__ListLimitsResponse reply = HOLDFAST__V1__LIST_LIMITS_RESPONSE__INIT;
    struct stand_in *stand_in = user;
    Holdfast__V1__Limit *found = NULL;
    char token[32], etag[16], *old_etag = NULL;

    for (size_t i = (size_t)number_of(request->page_token); i < stand_in->limits_count && !found; i++) {
        if (strcmp(stand_in->limits[i].stored->tenant, request->tenant) != 0)
            continue;
        found = stand_in->limits[i].stored;
        old_etag = found->etag;
        snprintf(etag, sizeof(etag), "%d", stand_in->limits[i].version);
        found->etag = etag;
        snprintf(token, sizeof(token), "%zu", i + 1);
        reply.limits = &found;
        reply.n_limits = 1;
        reply.next_page_token = token;
    }
    holdfast_v1_admin_service_list_limits_reply(call, &reply);
    if (found)
        found->etag = old_etag;
}

static void get_status(void *user, struct stub_call *call,
                       const Holdfast__V1__GetStatusRequest *request)
{
    Holdfast__V1__GetStatusResponse reply = HOLDFAST__V1__GET_STATUS_RESPONSE__INIT;
    Holdfast__V1__StoreStatus store = HOLDFAST__V1__STORE_STATUS__INIT, *stores = &store;

    (void)user;
    (void)request;
    store.store = text_of("redis");
    store.last_error = text_of("connection refused");
    reply.server = text_of("stand-in:1");
    reply.version = text_of("0");
    reply.stores = &stores;
    reply.n_stores = 1;
    reply.holds = 3;
    reply.limits_per_tenant_max = LIMITS_MAX;
    reply.limits_per_reservation_max = 128;
    holdfast_v1_admin_service_get_status_reply(call, &reply);
}

const struct holdfast_v1_admin_service_handlers stand_in_admin_handlers = {
    .create_tenant = create_tenant,
    .update_tenant = update_tenant,
    .list_tenants = list_tenants,
    .put_limit = put_limit,
    .delete_limit = delete_limit,
    .list_limits = list_limits,
    .get_status = get_status,
};
