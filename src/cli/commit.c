#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_JOB, ARGUMENT_RESERVATION, ARGUMENT_BRIEF, {0},
};

static const char doc[] =
    "Records what a held job really used, durably, and frees the rest of the hold.\v"
    "Without amounts it records exactly what was held; else name every held meter, 0 for what was "
    "not used. POLICY says what to do with more than was held and fits: record (the rest becomes "
    "debt; default), strict (refuse) or cap (drop the rest).\n\n"
    "  holdfast commit -t demo -j job-1 tokens=1320 requests=1\n"
    "  holdfast commit -r TOKEN tokens=1600:cap requests=1";

static void print_recorded(const Holdfast__V1__CommitResponse *response)
{
    printf("COMMITTED%s%s%s attempt %s at ", response->replayed ? " (replayed)" : "",
           response->late ? " (late)" : "", response->over_limit ? " (over the limit)" : "",
           response->attempt);
    print_time(stdout, response->commit_time);
    putchar('\n');
    print_committed(stdout, response->n_committed, response->committed);
    if (*response->receipt)
        printf("  receipt %s\n", response->receipt);
    print_quotas(stdout, response->n_quotas, response->quotas);
}

int command_commit(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    Holdfast__V1__CommitResponse *response = NULL;
    struct arguments arguments = {.takes_amounts = true,
                                  .takes_policies = true,
                                  .needs = ARGUMENTS_NEED_JOB};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    struct actual_list actual;
    int result = CLI_OK;

    arguments_parse(cli, options, "[METER=UNITS[:POLICY]...]", doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    actual_list_fill(&actual, &arguments);
    request.tenant = arguments_text(arguments.tenant);
    request.job_id = arguments_text(arguments.job);
    request.reservation_id = arguments_text(arguments.reservation);
    request.n_actual = arguments.amounts_count;
    request.actual = actual.pointers;
    request.brief = arguments.brief;
    if (holdfast_v1_quota_service_commit(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_recorded(response);
        holdfast__v1__commit_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
