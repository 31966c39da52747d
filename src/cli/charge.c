#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_SCOPE, ARGUMENT_JOB, ARGUMENT_BRIEF, {0},
};

static const char doc[] =
    "Records use of work that is done and that nobody reserved, durably and once.\v"
    "POLICY says what to do with use that does not fit: record (it becomes debt; default), strict "
    "(refuse) or cap (drop it). A job that is held is committed instead.\n\n"
    "  holdfast charge -t demo -j job-7 tokens=1320 requests=1\n"
    "  holdfast charge -t demo -s team-a -j job-8 tokens=160:strict";

static void print_charged(const Holdfast__V1__ChargeResponse *response)
{
    printf("COMMITTED%s%s%s attempt %s at ", response->replayed ? " (replayed)" : "",
           response->was_held ? " (it was held)" : "",
           response->over_limit ? " (over the limit)" : "", response->attempt);
    print_time(stdout, response->commit_time);
    putchar('\n');
    print_committed(stdout, response->n_committed, response->committed);
    if (*response->receipt)
        printf("  receipt %s\n", response->receipt);
    print_quotas(stdout, response->n_quotas, response->quotas);
}

int command_charge(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__ChargeRequest request = HOLDFAST__V1__CHARGE_REQUEST__INIT;
    Holdfast__V1__ChargeResponse *response = NULL;
    struct arguments arguments = {.takes_amounts = true,
                                  .takes_policies = true,
                                  .needs = ARGUMENTS_NEED_JOB_AMOUNTS};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    struct actual_list actual;
    int result = CLI_OK;

    arguments_parse(cli, options, "METER=UNITS[:POLICY]...", doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    actual_list_fill(&actual, &arguments);
    request.tenant = arguments_text(arguments.tenant);
    request.scope = arguments_text(arguments.scope);
    request.job_id = arguments_text(arguments.job);
    request.n_actual = arguments.amounts_count;
    request.actual = actual.pointers;
    request.brief = arguments.brief;
    if (holdfast_v1_quota_service_charge(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_charged(response);
        holdfast__v1__charge_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
