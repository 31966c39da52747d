#include "cli/arguments.h"
#include "cli/print.h"
#include "cli/tenants.h"

#include "holdfast/v1/admin_service.stub.h"

#include <inttypes.h>
#include <string.h>

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    {0},
};

static const char doc[] =
    "Holds the accounts of each limit and period against each other, of one tenant or of all: what its "
    "row says, what its leases, its holds in Postgres and its entries of the record add up to, and what "
    "Redis shows. Prints what differs and what will be done.\v"
    "Exits with 4 if anything differs. The time for a call (--timeout) does not count for the books.\n\n"
    "  holdfast reconcile\n"
    "  holdfast reconcile -t demo";

/* Of one tenant, page by page. */
struct sums {
    int64_t looked_at, differ;
    bool degraded;
};

static void print_quota(const char *tenant, const Holdfast__V1__QuotaReconciliation *quota)
{
    printf("%s%s%s %s ", tenant, *quota->scope ? "/" : "", quota->scope, quota->limit_id);
    print_time(stdout, quota->period_start);
    putchar('\n');
    for (size_t i = 0; i < quota->n_drifts; i++) {
        const Holdfast__V1__Drift *drift = quota->drifts[i];

        printf("  %s: %" PRId64 ", should be %" PRId64 "; %s\n", print_drift(drift->kind),
               drift->is, drift->other, drift->action);
    }
}

static void take_page(const struct cli *cli, const char *tenant, struct sums *sums,
                      const Holdfast__V1__GetReconciliationResponse *page)
{
    sums->looked_at += page->looked_at;
    sums->differ += (int64_t)page->n_quotas;
    sums->degraded |= page->degraded;
    if (cli->json) {
        cli_print_json(&page->base);
        return;
    }
    for (size_t i = 0; i < page->n_quotas; i++)
        print_quota(tenant, page->quotas[i]);
}

static int reconcile_tenant(struct cli *cli, const char *tenant)
{
    Holdfast__V1__GetReconciliationRequest request = HOLDFAST__V1__GET_RECONCILIATION_REQUEST__INIT;
    Holdfast__V1__GetReconciliationResponse *page = NULL, *next = NULL;
    struct stub_status status = STUB_STATUS_INIT;
    struct sums sums = {0};
    int result = CLI_OK;

    request.tenant = arguments_text(tenant);
    request.page_size = 1000;
    request.drifts_only = true;
    do {
        struct stub_call_options call = cli_call_options(cli);

        call.timeout_us = INT64_MAX;
        if (holdfast_v1_admin_service_get_reconciliation(cli_channel(cli), &call, &request, &next,
                                                         &status)) {
            result = cli_fail(cli, CLI_CALL_READS, &status);
            break;
        }
        if (page)
            holdfast__v1__get_reconciliation_response__free_unpacked(page, NULL);
        page = next;
        take_page(cli, tenant, &sums, page);
        request.page_token = page->next_page_token;
    } while (*page->next_page_token);
    if (page)
        holdfast__v1__get_reconciliation_response__free_unpacked(page, NULL);
    stub_status_clear(&status);
    if (result != CLI_OK)
        return result;
    if (!cli->json)
        printf("%s: %" PRId64 " of %" PRId64 " limits and periods differ%s\n", tenant, sums.differ,
               sums.looked_at, sums.degraded ? "; Redis did not answer" : "");
    return sums.differ > 0 ? CLI_UNBALANCED : CLI_OK;
}

int command_reconcile(struct cli *cli, int argc, char **argv)
{
    struct arguments arguments = {0};

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    return *arguments.tenant ? reconcile_tenant(cli, arguments.tenant)
                             : tenants_each(cli, reconcile_tenant);
}
