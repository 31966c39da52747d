#include "cli/admin.h"

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/failure.h"

#include "holdfast/v1/quota_service.stub.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_US 250000

bool admin_again(const struct cli *cli, struct stub_status *status, int64_t start_us)
{
    struct failure failure;
    bool transient;

    failure_read(status, &failure);
    transient = failure_is_transient(&failure) &&
                clock_mono_us(clock_real()) - start_us < cli->timeout_us - PAUSE_US;
    failure_done(&failure);
    if (transient) {
        stub_status_clear(status);
        usleep(PAUSE_US);
    }
    return transient;
}

/* wait_for_ready lets a script call this right after it started the server. */
static struct stub_call_options call_options(const struct cli *cli)
{
    struct stub_call_options call = cli_call_options(cli);

    call.wait_for_ready = true;
    return call;
}

static void fill_note(Holdfast__V1__ChangeNote *note, const char *reason, char id[CLI_ID_BYTES])
{
    const char *user = getenv("USER");

    holdfast__v1__change_note__init(note);
    note->actor = arguments_text(user ? user : "holdfast");
    note->reason = arguments_text(reason);
    note->request_id = arguments_text(cli_random_id("cli-", id));
}

/* Takes element i out of an array of n messages, so that it outlives the reply around it. */
static void *take(void *elements, size_t n, size_t i)
{
    void **array = elements;
    void *taken = array[i];

    array[i] = array[n - 1];
    return taken;
}

bool admin_find_tenant(struct cli *cli, const char *tenant, Holdfast__V1__Tenant **ret,
                       struct stub_status *ret_status)
{
    Holdfast__V1__ListTenantsRequest request = HOLDFAST__V1__LIST_TENANTS_REQUEST__INIT;
    Holdfast__V1__ListTenantsResponse *response;
    struct stub_call_options call = call_options(cli);
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = CLI_CALL_READS;
    stub_status_clear(ret_status);
    /* Sorted by name: the tenant itself comes before all others that begin with its name. */
    request.prefix = arguments_text(tenant);
    request.page_size = 10;
    while (holdfast_v1_admin_service_list_tenants(cli_channel(cli), &call, &request, &response,
                                                  ret_status)) {
        if (!admin_again(cli, ret_status, start_us))
            return false;
    }
    *ret = NULL;
    for (size_t i = 0; i < response->n_tenants; i++) {
        if (strcmp(response->tenants[i]->tenant, tenant) == 0) {
            *ret = take(response->tenants, response->n_tenants, i);
            response->n_tenants--;
            break;
        }
    }
    holdfast__v1__list_tenants_response__free_unpacked(response, NULL);
    return true;
}

bool admin_put_tenant(struct cli *cli, Holdfast__V1__Tenant *tenant, bool create,
                      const struct admin_change *how, struct stub_status *ret_status)
{
    Holdfast__V1__CreateTenantRequest added = HOLDFAST__V1__CREATE_TENANT_REQUEST__INIT;
    Holdfast__V1__UpdateTenantRequest updated = HOLDFAST__V1__UPDATE_TENANT_REQUEST__INIT;
    Holdfast__V1__CreateTenantResponse *after_add = NULL;
    Holdfast__V1__UpdateTenantResponse *after_update = NULL;
    struct stub_call_options call = call_options(cli);
    Holdfast__V1__ChangeNote note;
    char id[CLI_ID_BYTES];
    int64_t start_us = clock_mono_us(clock_real());
    int code;

    cli->last_call = how->validate_only ? CLI_CALL_READS : CLI_CALL_CHANGES;
    stub_status_clear(ret_status);
    fill_note(&note, how->reason, id);
    added.tenant = updated.tenant = tenant;
    added.note = updated.note = &note;
    added.validate_only = updated.validate_only = how->validate_only;
    do {
        code = create ? holdfast_v1_admin_service_create_tenant(cli_channel(cli), &call, &added,
                                                                &after_add, ret_status)
                      : holdfast_v1_admin_service_update_tenant(cli_channel(cli), &call, &updated,
                                                                &after_update, ret_status);
    } while (code && admin_again(cli, ret_status, start_us));
    if (after_add)
        holdfast__v1__create_tenant_response__free_unpacked(after_add, NULL);
    if (after_update)
        holdfast__v1__update_tenant_response__free_unpacked(after_update, NULL);
    return code == STUB_OK;
}

bool admin_put_limit(struct cli *cli, Holdfast__V1__Limit *limit, const struct admin_change *how,
                     struct stub_status *ret_status)
{
    Holdfast__V1__PutLimitRequest request = HOLDFAST__V1__PUT_LIMIT_REQUEST__INIT;
    Holdfast__V1__PutLimitResponse *response;
    struct stub_call_options call = call_options(cli);
    Holdfast__V1__ChangeNote note;
    char id[CLI_ID_BYTES];
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = how->validate_only ? CLI_CALL_READS : CLI_CALL_CHANGES;
    stub_status_clear(ret_status);
    fill_note(&note, how->reason, id);
    request.limit = limit;
    request.note = &note;
    request.validate_only = how->validate_only;
    while (holdfast_v1_admin_service_put_limit(cli_channel(cli), &call, &request, &response,
                                               ret_status)) {
        if (!admin_again(cli, ret_status, start_us))
            return false;
    }
    holdfast__v1__put_limit_response__free_unpacked(response, NULL);
    return true;
}

bool admin_delete_limit(struct cli *cli, const char *tenant, const Holdfast__V1__Limit *limit,
                        const struct admin_change *how, struct stub_status *ret_status)
{
    Holdfast__V1__DeleteLimitRequest request = HOLDFAST__V1__DELETE_LIMIT_REQUEST__INIT;
    Holdfast__V1__DeleteLimitResponse *response;
    struct stub_call_options call = call_options(cli);
    Holdfast__V1__ChangeNote note;
    char id[CLI_ID_BYTES];
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = how->validate_only ? CLI_CALL_READS : CLI_CALL_CHANGES;
    stub_status_clear(ret_status);
    fill_note(&note, how->reason, id);
    request.tenant = arguments_text(tenant);
    request.limit_id = limit->limit_id;
    request.etag = limit->etag;
    request.note = &note;
    request.validate_only = how->validate_only;
    while (holdfast_v1_admin_service_delete_limit(cli_channel(cli), &call, &request, &response,
                                                  ret_status)) {
        if (!admin_again(cli, ret_status, start_us))
            return false;
    }
    holdfast__v1__delete_limit_response__free_unpacked(response, NULL);
    return true;
}

bool admin_repair_drift(struct cli *cli, const char *tenant, const char *page_token,
                        const struct admin_change *how, Holdfast__V1__RepairDriftResponse **ret,
                        struct stub_status *ret_status)
{
    Holdfast__V1__RepairDriftRequest request = HOLDFAST__V1__REPAIR_DRIFT_REQUEST__INIT;
    struct stub_call_options call = call_options(cli);
    Holdfast__V1__ChangeNote note;
    char id[CLI_ID_BYTES];
    int64_t start_us = clock_mono_us(clock_real());

    call.timeout_us = INT64_MAX;
    cli->last_call = how->validate_only ? CLI_CALL_READS : CLI_CALL_CHANGES;
    stub_status_clear(ret_status);
    fill_note(&note, how->reason, id);
    request.tenant = arguments_text(tenant);
    request.note = &note;
    request.validate_only = how->validate_only;
    request.page_size = 1000;
    request.page_token = arguments_text(page_token);
    while (
        holdfast_v1_admin_service_repair_drift(cli_channel(cli), &call, &request, ret, ret_status))
        if (!admin_again(cli, ret_status, start_us))
            return false;
    return true;
}

bool admin_accept_loss(struct cli *cli, const char *tenant, const struct admin_change *how,
                       Holdfast__V1__AcceptLossResponse **ret, struct stub_status *ret_status)
{
    Holdfast__V1__AcceptLossRequest request = HOLDFAST__V1__ACCEPT_LOSS_REQUEST__INIT;
    struct stub_call_options call = call_options(cli);
    Holdfast__V1__ChangeNote note;
    char id[CLI_ID_BYTES];
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = how->validate_only ? CLI_CALL_READS : CLI_CALL_CHANGES;
    stub_status_clear(ret_status);
    fill_note(&note, how->reason, id);
    request.tenant = arguments_text(tenant);
    request.note = &note;
    request.validate_only = how->validate_only;
    while (
        holdfast_v1_admin_service_accept_loss(cli_channel(cli), &call, &request, ret, ret_status))
        if (!admin_again(cli, ret_status, start_us))
            return false;
    return true;
}

bool admin_bounds(struct cli *cli, struct room_bounds *ret, struct stub_status *ret_status)
{
    Holdfast__V1__GetStatusRequest request = HOLDFAST__V1__GET_STATUS_REQUEST__INIT;
    Holdfast__V1__GetStatusResponse *response;
    struct stub_call_options call = call_options(cli);
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = CLI_CALL_READS;
    stub_status_clear(ret_status);
    while (holdfast_v1_admin_service_get_status(cli_channel(cli), &call, &request, &response,
                                                ret_status)) {
        if (!admin_again(cli, ret_status, start_us))
            return false;
    }
    ret->per_tenant = response->limits_per_tenant_max;
    ret->per_reservation = response->limits_per_reservation_max;
    holdfast__v1__get_status_response__free_unpacked(response, NULL);
    return true;
}

static void append_page(Holdfast__V1__Limit ***limits, size_t *count,
                        Holdfast__V1__ListLimitsResponse *page)
{
    if (page->n_limits == 0)
        return;
    *limits = reallocarray(*limits, *count + page->n_limits, sizeof(**limits));
    CHECK(*limits);
    memcpy(*limits + *count, page->limits, page->n_limits * sizeof(**limits));
    *count += page->n_limits;
    page->n_limits = 0; /* they are ours now; the array itself goes with the page */
}

bool admin_list_limits(struct cli *cli, const char *tenant, Holdfast__V1__Limit ***ret,
                       size_t *ret_count, struct stub_status *ret_status)
{
    Holdfast__V1__ListLimitsRequest request = HOLDFAST__V1__LIST_LIMITS_REQUEST__INIT;
    Holdfast__V1__ListLimitsResponse *page = NULL, *next = NULL;
    struct stub_call_options call = call_options(cli);
    Holdfast__V1__Limit **limits = NULL;
    size_t count = 0;
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = CLI_CALL_READS;
    request.tenant = arguments_text(tenant);
    request.page_size = 1000;
    do {
        stub_status_clear(ret_status);
        while (holdfast_v1_admin_service_list_limits(cli_channel(cli), &call, &request, &next,
                                                     ret_status)) {
            if (admin_again(cli, ret_status, start_us))
                continue;
            if (page)
                holdfast__v1__list_limits_response__free_unpacked(page, NULL);
            admin_limits_free(limits, count);
            return false;
        }
        if (page)
            holdfast__v1__list_limits_response__free_unpacked(page, NULL);
        page = next;
        append_page(&limits, &count, page);
        request.page_token = page->next_page_token;
    } while (*page->next_page_token);
    holdfast__v1__list_limits_response__free_unpacked(page, NULL);
    *ret = limits;
    *ret_count = count;
    return true;
}

void admin_limits_free(Holdfast__V1__Limit **limits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        holdfast__v1__limit__free_unpacked(limits[i], NULL);
    free(limits);
}

bool admin_usage(struct cli *cli, const char *tenant, Holdfast__V1__GetUsageResponse ***ret,
                 size_t *ret_count, struct stub_status *ret_status)
{
    Holdfast__V1__GetUsageRequest request = HOLDFAST__V1__GET_USAGE_REQUEST__INIT;
    Holdfast__V1__GetUsageResponse *page;
    struct stub_call_options call = call_options(cli);
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = CLI_CALL_READS;
    request.tenant = arguments_text(tenant);
    request.include_descendants = true;
    request.page_size = 1000;
    do {
        stub_status_clear(ret_status);
        while (holdfast_v1_quota_service_get_usage(cli_channel(cli), &call, &request, &page,
                                                   ret_status)) {
            if (!admin_again(cli, ret_status, start_us))
                return false;
        }
        *ret = reallocarray(*ret, *ret_count + 1, sizeof(**ret));
        CHECK(*ret);
        (*ret)[(*ret_count)++] = page;
        request.page_token = page->next_page_token;
    } while (*page->next_page_token);
    return true;
}

void admin_usage_free(Holdfast__V1__GetUsageResponse **pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        holdfast__v1__get_usage_response__free_unpacked(pages[i], NULL);
    free(pages);
}
