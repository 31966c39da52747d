#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    ARGUMENT_SCOPE,
    ARGUMENT_DEFERRABLE,
    {0},
};

static const char doc[] =
    "Says what reserve would answer now, without holding anything.\v"
    "Exits with 0 for ALLOW and WARN, with 1 for REJECT. Others may take the room before a reserve "
    "comes.\n\n"
    "  holdfast check -t demo tokens=1500";

static void print_checked(const Holdfast__V1__CheckResponse *response)
{
    puts(print_decision(response->decision));
    print_reasons(stdout, response->n_reasons, response->reasons);
    if (response->retry_after) {
        fputs("  retry after ", stdout);
        print_span(stdout, response->retry_after);
        putchar('\n');
    }
    print_quotas(stdout, response->n_quotas, response->quotas);
    if (response->degraded)
        puts("  degraded: a store is away");
}

int command_check(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__CheckRequest request = HOLDFAST__V1__CHECK_REQUEST__INIT;
    Holdfast__V1__CheckResponse *response = NULL;
    struct arguments arguments = {.takes_amounts = true, .needs = ARGUMENTS_NEED_AMOUNTS};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    struct amount_list amounts;
    int result;

    arguments_parse(cli, options, "METER=UNITS...", doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    amount_list_fill(&amounts, &arguments);
    request.tenant = arguments_text(arguments.tenant);
    request.scope = arguments_text(arguments.scope);
    request.n_amounts = arguments.amounts_count;
    request.amounts = amounts.pointers;
    if (arguments.deferrable)
        request.priority = HOLDFAST__V1__PRIORITY__PRIORITY_DEFERRABLE;
    if (holdfast_v1_quota_service_check(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_READS, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_checked(response);
        result = response->decision == HOLDFAST__V1__DECISION__DECISION_ALLOW ||
                         response->decision == HOLDFAST__V1__DECISION__DECISION_WARN
                     ? CLI_OK
                     : CLI_REFUSED;
        holdfast__v1__check_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
