#include "cli/admin.h"
#include "cli/arguments.h"
#include "cli/print.h"
#include "cli/tenants.h"

#include "holdfast/v1/admin_service.stub.h"

#include <inttypes.h>
#include <string.h>

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_REPAIR, ARGUMENT_DRY_RUN, ARGUMENT_ACCEPT, {0},
};

static const char doc[] =
    "Holds the accounts of each limit and period against each other, of one tenant or of all: what its "
    "row says, what its leases, its holds in Postgres and its entries of the record add up to, and what "
    "Redis shows. Prints what differs and what will be done.\v"
    "Exits with 4 if anything differs. The time for a call (--timeout) does not count for the books.\n\n"
    "With --repair accounts are made to agree where something proves which of them is right; the others are "
    "refused, with the reason. Capacity that no account explains is set aside until no hold of it can be "
    "live. Exits with 4 if anything was refused.\n\n"
    "With --accept, of one tenant: the database has lost use that it had acknowledged (holdfast status "
    "names the tenant). The units are booked as entries of the record, and the tenant works again.\n\n"
    "  holdfast reconcile\n"
    "  holdfast reconcile -t demo\n"
    "  holdfast reconcile --repair --dry-run -t demo\n"
    "  holdfast reconcile --repair -t demo\n"
    "  holdfast reconcile --accept -t demo";

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

        printf("  %s: %" PRId64 ", should be %" PRId64, print_drift(drift->kind), drift->is,
               drift->other);
        if (drift->since) {
            fputs(", since ", stdout);
            print_time(stdout, drift->since);
        }
        printf("; %s\n", drift->action);
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

/* --- repair ----------------------------------------------------------------------------------- */

struct repaired {
    int64_t repaired, refused;
    bool degraded;
};

static void print_repair(const char *tenant, const Holdfast__V1__DriftRepair *repair, bool dry_run)
{
    const Holdfast__V1__Drift *drift = repair->drift;

    printf("%s%s%s %s ", tenant, *repair->scope ? "/" : "", repair->scope, repair->limit_id);
    print_time(stdout, repair->period_start);
    printf("\n  %s: %" PRId64 ", should be %" PRId64, print_drift(drift->kind), drift->is,
           drift->other);
    if (drift->since) {
        fputs(", since ", stdout);
        print_time(stdout, drift->since);
    }
    printf("; %s: %s\n",
           !repair->repaired ? "refused"
           : dry_run         ? "would be repaired"
                             : "repaired",
           drift->action);
}

static void take_repairs(const struct cli *cli, const char *tenant, bool dry_run,
                         struct repaired *sums, const Holdfast__V1__RepairDriftResponse *page)
{
    sums->degraded |= page->degraded;
    for (size_t i = 0; i < page->n_repairs; i++) {
        if (page->repairs[i]->repaired)
            sums->repaired++;
        else
            sums->refused++;
        if (!cli->json)
            print_repair(tenant, page->repairs[i], dry_run);
    }
    if (cli->json)
        cli_print_json(&page->base);
}

static int repair_pages(struct cli *cli, const char *tenant, bool dry_run)
{
    const struct admin_change how = {.reason = "holdfast reconcile --repair",
                                     .validate_only = dry_run};
    Holdfast__V1__RepairDriftResponse *page = NULL, *next = NULL;
    struct stub_status status = STUB_STATUS_INIT;
    struct repaired sums = {0};
    int result = CLI_OK;

    do {
        if (!admin_repair_drift(cli, tenant, page ? page->next_page_token : "", &how, &next,
                                &status)) {
            result = cli_fail(cli, cli->last_call, &status);
            break;
        }
        if (page)
            holdfast__v1__repair_drift_response__free_unpacked(page, NULL);
        page = next;
        take_repairs(cli, tenant, dry_run, &sums, page);
    } while (*page->next_page_token);
    if (page)
        holdfast__v1__repair_drift_response__free_unpacked(page, NULL);
    stub_status_clear(&status);
    if (result != CLI_OK)
        return result;
    if (!cli->json)
        printf("%s: %" PRId64 " accounts %s, %" PRId64 " refused%s\n", tenant, sums.repaired,
               dry_run ? "would be repaired" : "repaired", sums.refused,
               sums.degraded ? "; Redis did not answer" : "");
    return sums.refused > 0 ? CLI_UNBALANCED : CLI_OK;
}

static int repair_tenant(struct cli *cli, const char *tenant)
{
    return repair_pages(cli, tenant, false);
}

static int try_tenant(struct cli *cli, const char *tenant)
{
    return repair_pages(cli, tenant, true);
}

/* --- losses ----------------------------------------------------------------------------------- */

static void print_loss(const char *tenant, const Holdfast__V1__Loss *loss)
{
    printf("%s %s ", tenant, *loss->limit_id ? loss->limit_id : "(a limit that is gone)");
    print_time(stdout, loss->period_start);
    printf(": %" PRId64 " units of %" PRId64 " entries were lost; booked as %" PRId64
           " committed, %" PRId64 " debt%s%s\n",
           loss->units, loss->entries, loss->committed, loss->debt, *loss->job_id ? ", job " : "",
           loss->job_id);
}

static int accept_loss(struct cli *cli, const char *tenant)
{
    const struct admin_change how = {.reason = "holdfast reconcile --accept"};
    Holdfast__V1__AcceptLossResponse *response = NULL;
    struct stub_status status = STUB_STATUS_INIT;
    int result = CLI_OK;

    if (!admin_accept_loss(cli, tenant, &how, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
        stub_status_clear(&status);
        return result;
    }
    if (cli->json)
        cli_print_json(&response->base);
    for (size_t i = 0; i < response->n_losses && !cli->json; i++)
        print_loss(tenant, response->losses[i]);
    if (!cli->json)
        printf("%s: accepted; it is not read-only\n", tenant);
    holdfast__v1__accept_loss_response__free_unpacked(response, NULL);
    stub_status_clear(&status);
    return result;
}

int command_reconcile(struct cli *cli, int argc, char **argv)
{
    struct arguments arguments = {0};
    int (*run)(struct cli * cli, const char *tenant) = reconcile_tenant;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    if (arguments.accept)
        return accept_loss(cli, arguments.tenant);
    if (arguments.repair)
        run = arguments.dry_run ? try_tenant : repair_tenant;
    return *arguments.tenant ? run(cli, arguments.tenant) : tenants_each(cli, run);
}
