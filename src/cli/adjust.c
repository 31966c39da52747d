#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/print.h"

#include "holdfast/v1/admin_service.stub.h"

#include <inttypes.h>

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_JOB, ARGUMENT_ID, ARGUMENT_REASON, {0},
};

static const char doc[] =
    "Corrects what was recorded of a job, durably and once: units to add, or, with a minus, to take.\v"
    "Taken is what the job has in periods that are open, debt first; what is in a period that is closed "
    "stays there and is told. Added is what every limit that applies now counts; what does not fit becomes "
    "debt. With the same --id a repeat gets the first answer.\n\n"
    "  holdfast adjust -t demo -j job-7 --id refund-17 tokens=-300\n"
    "  holdfast adjust -t demo -j job-7 --id fix-18 --reason missed tokens=20";

static void print_adjusted_quota(const Holdfast__V1__AdjustedQuota *quota)
{
    printf("    %s ", *quota->limit_id ? quota->limit_id : "(a limit that is gone)");
    print_time(stdout, quota->period_start);
    if (quota->closed_period)
        puts(": its period is closed, nothing was changed");
    else
        printf(": committed %+" PRId64 ", debt %+" PRId64 "\n", quota->committed, quota->debt);
}

static void print_adjusted(const Holdfast__V1__AdjustResponse *response)
{
    printf("ADJUSTED%s at ", response->replayed ? " (replayed)" : "");
    print_time(stdout, response->adjust_time);
    putchar('\n');
    for (size_t i = 0; i < response->n_changes; i++) {
        const Holdfast__V1__AdjustedMeter *change = response->changes[i];

        printf("  %s: %+" PRId64 ", %" PRId64 " left of the job\n", change->meter, change->delta,
               change->left);
        for (size_t k = 0; k < change->n_quotas; k++)
            print_adjusted_quota(change->quotas[k]);
    }
}

int command_adjust(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__AdjustRequest request = HOLDFAST__V1__ADJUST_REQUEST__INIT;
    Holdfast__V1__AdjustResponse *response = NULL;
    Holdfast__V1__Change changes[ARGUMENTS_AMOUNTS_MAX], *pointers[ARGUMENTS_AMOUNTS_MAX];
    struct arguments arguments = {.takes_amounts = true, .needs = ARGUMENTS_NEED_ID_AMOUNTS};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    int result = CLI_OK;

    arguments_parse(cli, options, "METER=UNITS...", doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    for (size_t i = 0; i < arguments.amounts_count; i++) {
        holdfast__v1__change__init(&changes[i]);
        changes[i].meter = arguments.amounts[i].meter;
        changes[i].delta = arguments.amounts[i].units;
        pointers[i] = &changes[i];
    }
    request.tenant = arguments_text(arguments.tenant);
    request.adjust_id = arguments_text(arguments.id);
    request.job_id = arguments_text(arguments.job);
    request.reason = arguments_text(arguments.reason);
    request.n_changes = arguments.amounts_count;
    request.changes = pointers;
    if (holdfast_v1_admin_service_adjust(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_adjusted(response);
        holdfast__v1__adjust_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
