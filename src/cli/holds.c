#include "cli/arguments.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    ARGUMENT_SCOPE,
    {0},
};

static const char doc[] = "Lists the live holds of a tenant, soonest expiry first.\v"
                          "With --json each page is one line.\n\n"
                          "  holdfast holds -t demo";

static void print_page(const struct cli *cli,
                       const Holdfast__V1__ListReservationsResponse *response)
{
    if (cli->json) {
        cli_print_json(&response->base);
        return;
    }
    for (size_t i = 0; i < response->n_reservations; i++) {
        const Holdfast__V1__Reservation *hold = response->reservations[i];

        fputs("  ", stdout);
        print_time(stdout, hold->expire_time);
        printf(" %s%s%s attempt %s job %s: ", hold->tenant, *hold->scope ? "/" : "", hold->scope,
               hold->attempt, hold->job_id);
        print_amounts(stdout, hold->n_held, hold->held);
        putchar('\n');
    }
}

int command_holds(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__ListReservationsRequest request = HOLDFAST__V1__LIST_RESERVATIONS_REQUEST__INIT;
    Holdfast__V1__ListReservationsResponse *page = NULL, *next = NULL;
    struct arguments arguments = {.needs = ARGUMENTS_NEED_TENANT};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    bool degraded = false;
    size_t holds = 0;
    int result = CLI_OK;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    request.tenant = arguments_text(arguments.tenant);
    request.scope = arguments_text(arguments.scope);
    request.page_size = 200;
    do {
        stub_status_clear(&status);
        if (holdfast_v1_quota_service_list_reservations(cli_channel(cli), &call, &request, &next,
                                                        &status)) {
            result = cli_fail(cli, CLI_CALL_READS, &status);
            break;
        }
        /* The token of the next request points into the page, which therefore goes last. */
        if (page)
            holdfast__v1__list_reservations_response__free_unpacked(page, NULL);
        page = next;
        holds += page->n_reservations;
        degraded |= page->degraded;
        print_page(cli, page);
        request.page_token = page->next_page_token;
    } while (*page->next_page_token);
    if (result == CLI_OK && !cli->json)
        printf("  %zu live%s\n", holds, degraded ? ", and what Redis holds, which is away" : "");
    if (page)
        holdfast__v1__list_reservations_response__free_unpacked(page, NULL);
    stub_status_clear(&status);
    return result;
}
