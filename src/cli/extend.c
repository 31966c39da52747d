#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT, ARGUMENT_JOB, ARGUMENT_RESERVATION, ARGUMENT_TTL, {0},
};

static const char doc[] =
    "Moves the expiry of a hold to now + ttl, if that is later. Repeating it is harmless.\v"
    "  holdfast extend -t demo -j job-1 --ttl 5m";

static void print_extended(const Holdfast__V1__ExtendResponse *response)
{
    printf("HELD attempt %s holds ", response->attempt);
    print_amounts(stdout, response->n_granted, response->granted);
    fputs(" until ", stdout);
    print_time(stdout, response->expire_time);
    fputs(", ", stdout);
    print_span(stdout, response->remaining_ttl);
    fputs(" left; never longer than ", stdout);
    print_time(stdout, response->lifetime_end_time);
    putchar('\n');
    if (response->degraded)
        puts("  degraded: Postgres is away, and was not asked whether the hold was ended");
    print_quotas(stdout, response->n_quotas, response->quotas);
    printf("  reservation_id %s\n", response->reservation_id);
}

int command_extend(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__ExtendRequest request = HOLDFAST__V1__EXTEND_REQUEST__INIT;
    Holdfast__V1__ExtendResponse *response = NULL;
    struct arguments arguments = {.needs = ARGUMENTS_NEED_JOB};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    Google__Protobuf__Duration ttl;
    int result = CLI_OK;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    request.tenant = arguments_text(arguments.tenant);
    request.job_id = arguments_text(arguments.job);
    request.reservation_id = arguments_text(arguments.reservation);
    if (arguments.ttl_us >= 0) {
        ttl = duration_message(arguments.ttl_us);
        request.ttl = &ttl;
    }
    if (holdfast_v1_quota_service_extend(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_extended(response);
        holdfast__v1__extend_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
