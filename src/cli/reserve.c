#include "cli/arguments.h"
#include "cli/messages.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

#include <string.h>

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    ARGUMENT_SCOPE,
    {"job", 'j', "ID", 0, "idempotency key of the job (default: a new one)", 0},
    ARGUMENT_TTL,
    ARGUMENT_DEFERRABLE,
    ARGUMENT_BRIEF,
    {0},
};

static const char doc[] =
    "Holds amounts until they are committed or released, or the hold expires.\v"
    "Exits with 0 if the work may start (ALLOW or WARN), and with 1 if not (REJECT, or the job was "
    "committed before). Repeat a call that failed with the same --job: nothing is held twice.\n\n"
    "  holdfast reserve -t demo -j job-1 tokens=1500 requests=1";

static bool admitted(Holdfast__V1__Decision decision)
{
    return decision == HOLDFAST__V1__DECISION__DECISION_ALLOW ||
           decision == HOLDFAST__V1__DECISION__DECISION_WARN;
}

static void print_reserved(const Holdfast__V1__ReserveRequest *request,
                           const Holdfast__V1__ReserveResponse *response)
{
    printf("%s%s job %s", print_decision(response->decision),
           response->replayed ? " (replayed)" : "", request->job_id);
    if (*response->attempt) {
        printf(" attempt %s holds ", response->attempt);
        print_amounts(stdout, response->n_granted, response->granted);
        fputs(" until ", stdout);
        print_time(stdout, response->expire_time);
        fputs(", ", stdout);
        print_span(stdout, response->remaining_ttl);
        fputs(" left", stdout);
    }
    putchar('\n');
    print_reasons(stdout, response->n_reasons, response->reasons);
    if (response->retry_after) {
        fputs("  retry after ", stdout);
        print_span(stdout, response->retry_after);
        putchar('\n');
    }
    print_committed(stdout, response->n_committed, response->committed);
    print_quotas(stdout, response->n_quotas, response->quotas);
    if (response->uncounted)
        puts("  uncounted: no store can be asked, and the hold is in none; its Commit is recorded");
    else if (response->degraded)
        puts("  degraded: Redis is away, and the hold is in Postgres");
    if (*response->reservation_id)
        printf("  reservation_id %s\n", response->reservation_id);
}

int command_reserve(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__ReserveResponse *response = NULL;
    struct arguments arguments = {.takes_amounts = true, .needs = ARGUMENTS_NEED_AMOUNTS};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    Google__Protobuf__Duration ttl;
    struct amount_list amounts;
    char job[CLI_ID_BYTES];
    int result;

    arguments_parse(cli, options, "METER=UNITS...", doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    amount_list_fill(&amounts, &arguments);
    request.tenant = arguments_text(arguments.tenant);
    request.scope = arguments_text(arguments.scope);
    request.job_id = arguments_text(*arguments.job ? arguments.job : cli_random_id("job-", job));
    request.n_amounts = arguments.amounts_count;
    request.amounts = amounts.pointers;
    request.brief = arguments.brief;
    if (arguments.deferrable)
        request.priority = HOLDFAST__V1__PRIORITY__PRIORITY_DEFERRABLE;
    if (arguments.ttl_us >= 0) {
        ttl = duration_message(arguments.ttl_us);
        request.ttl = &ttl;
    }
    if (holdfast_v1_quota_service_reserve(cli_channel(cli), &call, &request, &response, &status)) {
        result = cli_fail(cli, CLI_CALL_CHANGES, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_reserved(&request, response);
        result = admitted(response->decision) ? CLI_OK : CLI_REFUSED;
        holdfast__v1__reserve_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
