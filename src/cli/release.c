#include "cli/arguments.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_JOB, ARGUMENT_RESERVATION, ARGUMENT_NOTE, ARGUMENT_BRIEF, {0},
};

static const char doc[] =
    "Gives a hold back without recording anything. Repeating it is harmless.\v"
    "  holdfast release -t demo -j job-2";

static void print_released(const Holdfast__V1__ReleaseResponse *response)
{
    printf("RELEASED%s attempt %s, freed ", response->replayed ? " (replayed)" : "",
           response->attempt);
    if (response->n_freed)
        print_amounts(stdout, response->n_freed, response->freed);
    else
        fputs("nothing", stdout);
    putchar('\n');
    print_quotas(stdout, response->n_quotas, response->quotas);
}

int command_release(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__ReleaseRequest request = HOLDFAST__V1__RELEASE_REQUEST__INIT;
    Holdfast__V1__ReleaseResponse *response = NULL;
    struct arguments arguments = {.needs = ARGUMENTS_NEED_JOB};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    int result = CLI_OK;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    request.tenant = arguments_text(arguments.tenant);
    request.job_id = arguments_text(arguments.job);
    request.reservation_id = arguments_text(arguments.reservation);
    request.note = arguments_text(arguments.note);
    request.brief = arguments.brief;
    if (holdfast_v1_quota_service_release(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_released(response);
        holdfast__v1__release_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
