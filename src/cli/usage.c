#include "cli/arguments.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_SCOPE, ARGUMENT_METER, ARGUMENT_BELOW, {0},
};

static const char doc[] = "Shows limits, use and holds of a tenant in the current periods.\v"
                          "With --json each page is one line.\n\n"
                          "  holdfast usage -t demo --below";

static void print_page(const struct cli *cli, const Holdfast__V1__GetUsageResponse *response)
{
    if (cli->json) {
        cli_print_json(&response->base);
        return;
    }
    print_quotas(stdout, response->n_quotas, response->quotas);
    if (response->n_quotas == 0)
        puts("  no limits here");
    if (response->degraded)
        puts("  degraded: Redis is away");
}

int command_usage(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__GetUsageRequest request = HOLDFAST__V1__GET_USAGE_REQUEST__INIT;
    Holdfast__V1__GetUsageResponse *page = NULL, *next = NULL;
    struct arguments arguments = {.needs = ARGUMENTS_NEED_TENANT};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    int result = CLI_OK;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    request.tenant = arguments_text(arguments.tenant);
    request.scope = arguments_text(arguments.scope);
    request.meter = arguments_text(arguments.meter);
    request.include_descendants = arguments.below;
    request.page_size = 1000;
    do {
        stub_status_clear(&status);
        if (holdfast_v1_quota_service_get_usage(cli_channel(cli), &call, &request, &next,
                                                &status)) {
            result = cli_fail(cli, CLI_CALL_READS, &status);
            break;
        }
        /* The token of the next request points into the page, which therefore goes last. */
        if (page)
            holdfast__v1__get_usage_response__free_unpacked(page, NULL);
        page = next;
        print_page(cli, page);
        request.page_token = page->next_page_token;
    } while (*page->next_page_token);
    if (page)
        holdfast__v1__get_usage_response__free_unpacked(page, NULL);
    stub_status_clear(&status);
    return result;
}
