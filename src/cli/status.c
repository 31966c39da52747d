#include "cli/arguments.h"
#include "cli/print.h"

#include "holdfast/v1/admin_service.stub.h"

#include <inttypes.h>

static const char doc[] =
    "Shows the server that answers, and its stores.\v"
    "Exits with 3 if the server does not answer, or says that a store is away.\n\n"
    "  holdfast status";

static bool all_up(const Holdfast__V1__GetStatusResponse *response)
{
    for (size_t i = 0; i < response->n_stores; i++)
        if (!response->stores[i]->up)
            return false;
    return true;
}

static void print_status(const Holdfast__V1__GetStatusResponse *response)
{
    printf("%s %s, serving since ", response->server, response->version);
    print_time(stdout, response->start_time);
    puts(response->draining ? ", DRAINING" : "");
    for (size_t i = 0; i < response->n_stores; i++) {
        const Holdfast__V1__StoreStatus *store = response->stores[i];

        printf("  %-9s %s since ", store->store, store->up ? "up" : "DOWN");
        print_time(stdout, store->since);
        fputs(", round trip ", stdout);
        print_span(stdout, store->latency);
        if (*store->identity)
            printf(", database %s", store->identity);
        if (store->failovers > 0)
            printf(", %" PRId64 " failovers", store->failovers);
        printf("%s%s\n", *store->last_error ? ", last error: " : "", store->last_error);
    }
    printf("  %" PRId64 " holds, %" PRId64 " of them due; %d watchers; database clock ahead by ",
           response->holds, response->holds_due, response->watchers);
    print_span(stdout, response->clock_offset);
    fputs("\n  seals ", stdout);
    print_span(stdout, response->seals_behind);
    printf(" behind the record, %" PRId64 " gaps\n", response->seal_gaps);
    for (size_t i = 0; i < response->n_read_only_tenants; i++)
        printf(
            "  tenant %s is read-only: the database has lost use of it (holdfast reconcile --accept)\n",
            response->read_only_tenants[i]);
    if (response->drifts > 0) {
        printf("  %" PRId64 " accounts differ, by %" PRId64 " units, the worst by %" PRId64
               "; since ",
               response->drifts, response->drift_units, response->drift_worst);
        print_span(stdout, response->drift_age);
        fputs(": holdfast reconcile\n", stdout);
    }
    if (response->holding_in_postgres || response->postgres_holds > 0)
        printf("  %" PRId64 " holds in Postgres%s\n", response->postgres_holds,
               response->holding_in_postgres
                   ? "; Redis does not answer, and new ones are taken there"
                   : "");
}

int command_status(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__GetStatusRequest request = HOLDFAST__V1__GET_STATUS_REQUEST__INIT;
    Holdfast__V1__GetStatusResponse *response = NULL;
    struct arguments arguments = {0};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    int result = CLI_OK;

    arguments_parse(cli, NULL, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    if (holdfast_v1_admin_service_get_status(cli_channel(cli), &call, &request, &response,
                                             &status)) {
        result = cli_fail(cli, CLI_CALL_READS, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_status(response);
        result = all_up(response) ? CLI_OK : CLI_SERVER;
        holdfast__v1__get_status_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
