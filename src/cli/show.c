#include "cli/arguments.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    ARGUMENT_JOB,
    ARGUMENT_RESERVATION,
    {0},
};

static const char doc[] = "Shows where one job stands: held, committed, released or expired.\v"
                          "  holdfast show -t demo -j job-1";

static void print_reservation(const Holdfast__V1__Reservation *job)
{
    printf("%s%s %s%s%s job %s attempt %s\n  held ", print_state(job->state),
           job->late ? " (late)" : "", job->tenant, *job->scope ? "/" : "", job->scope, job->job_id,
           job->attempt);
    print_amounts(stdout, job->n_held, job->held);
    fputs("\n  reserved ", stdout);
    print_time(stdout, job->create_time);
    fputs(", expiry ", stdout);
    print_time(stdout, job->expire_time);
    fputs(", finished ", stdout);
    print_time(stdout, job->finish_time);
    putchar('\n');
    print_committed(stdout, job->n_committed, job->committed);
    for (size_t i = 0; i < job->n_counted_against; i++) {
        printf("  counts against %s from ", job->counted_against[i]->limit_id);
        print_time(stdout, job->counted_against[i]->period_start);
        putchar('\n');
    }
}

int command_show(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__GetReservationRequest request = HOLDFAST__V1__GET_RESERVATION_REQUEST__INIT;
    Holdfast__V1__GetReservationResponse *response = NULL;
    struct arguments arguments = {.needs = ARGUMENTS_NEED_JOB};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    int result = CLI_OK;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    request.tenant = arguments_text(arguments.tenant);
    request.job_id = arguments_text(arguments.job);
    request.reservation_id = arguments_text(arguments.reservation);
    if (holdfast_v1_quota_service_get_reservation(cli_channel(cli), &call, &request, &response,
                                                  &status)) {
        result = cli_fail(cli, CLI_CALL_READS, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else if (response->reservation)
            print_reservation(response->reservation);
        holdfast__v1__get_reservation_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
