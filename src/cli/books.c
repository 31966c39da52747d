#include "cli/books.h"

#include "base/clock.h"
#include "cli/admin.h"
#include "cli/arguments.h"

#include "holdfast/v1/quota_service.stub.h"

#include <string.h>

static void read_quota(const Holdfast__V1__QuotaState *quota, struct book_reading *ret)
{
    ret->rows = quota->ledger_seq;
    ret->used = quota->committed + quota->debt;
    ret->debt = quota->debt;
    ret->held = quota->held;
    if (quota->bound_case == HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT &&
        quota->committed > quota->hard_cap)
        ret->over_units = quota->committed - quota->hard_cap;
}

bool book_read(struct cli *cli, const struct book *book, const char *meter,
               struct book_reading *ret, struct stub_status *ret_status)
{
    Holdfast__V1__GetUsageRequest request = HOLDFAST__V1__GET_USAGE_REQUEST__INIT;
    Holdfast__V1__GetUsageResponse *response;
    struct stub_call_options call = cli_call_options(cli);
    struct book_reading reading = {0};
    int64_t start_us = clock_mono_us(clock_real());

    cli->last_call = CLI_CALL_READS;
    stub_status_clear(ret_status);
    request.tenant = arguments_text(book->tenant);
    request.meter = arguments_text(meter);
    request.page_size = 1000;
    call.wait_for_ready = true;
    while (holdfast_v1_quota_service_get_usage(cli_channel(cli), &call, &request, &response,
                                               ret_status))
        if (!admin_again(cli, ret_status, start_us))
            return false;
    for (size_t i = 0; i < response->n_quotas; i++) {
        if (strcmp(response->quotas[i]->limit_id, book->limit_id) == 0)
            read_quota(response->quotas[i], &reading);
    }
    reading.event_seq = response->event_seq;
    holdfast__v1__get_usage_response__free_unpacked(response, NULL);
    *ret = reading;
    return true;
}

static bool open_tenant(struct cli *cli, const char *name, struct stub_status *ret_status)
{
    Holdfast__V1__Tenant tenant = HOLDFAST__V1__TENANT__INIT, *found;

    if (!admin_find_tenant(cli, name, &found, ret_status))
        return false;
    if (found) {
        holdfast__v1__tenant__free_unpacked(found, NULL);
        return true;
    }
    tenant.tenant = arguments_text(name);
    tenant.display_name = arguments_text("Replay of a trace");
    return admin_put_tenant(cli, &tenant, true, &(struct admin_change){.reason = "replay"},
                            ret_status);
}

/* Will a limit that exists do? It must follow the whole meter of the tenant, for ever. */
static bool will_do(const Holdfast__V1__Limit *limit, const struct book_limit *wanted)
{
    return !*limit->scope && strcmp(limit->meter, wanted->meter) == 0 &&
           limit->period == HOLDFAST__V1__PERIOD__PERIOD_NEVER;
}

static bool put_limit(struct cli *cli, const struct book *book, const struct book_limit *wanted,
                      struct stub_status *ret_status)
{
    Holdfast__V1__Limit limit = HOLDFAST__V1__LIMIT__INIT;

    limit.limit_id = arguments_text(book->limit_id);
    limit.tenant = arguments_text(book->tenant);
    limit.meter = arguments_text(wanted->meter);
    limit.period = HOLDFAST__V1__PERIOD__PERIOD_NEVER;
    if (wanted->units >= 0) {
        limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
        limit.units = wanted->units;
    } else {
        limit.bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED;
        limit.unlimited = true;
    }
    if (wanted->units >= 0 && wanted->overage_percent > 0) {
        limit.overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT;
        limit.overage_percent = wanted->overage_percent;
    }
    return admin_put_limit(cli, &limit, &(struct admin_change){.reason = "replay"}, ret_status);
}

bool book_open(struct cli *cli, const char *tenant, const struct book_limit *limit,
               struct book *ret, struct stub_status *ret_status)
{
    Holdfast__V1__Limit **limits;
    struct book book = {0};
    bool found = false;
    size_t count;

    snprintf(book.tenant, sizeof(book.tenant), "%s", tenant);
    snprintf(book.limit_id, sizeof(book.limit_id), "replay-%s", limit->meter);
    if (!open_tenant(cli, tenant, ret_status) ||
        !admin_list_limits(cli, tenant, &limits, &count, ret_status))
        return false;
    for (size_t i = 0; i < count && limit->units < 0 && !found; i++) {
        found = will_do(limits[i], limit);
        if (found)
            snprintf(book.limit_id, sizeof(book.limit_id), "%s", limits[i]->limit_id);
    }
    admin_limits_free(limits, count);
    if (!found && !put_limit(cli, &book, limit, ret_status))
        return false;
    if (!book_read(cli, &book, limit->meter, &book.before, ret_status))
        return false;
    *ret = book;
    return true;
}
