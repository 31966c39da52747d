#include "cli/arguments.h"
#include "cli/print.h"

#include "holdfast/v1/quota_service.stub.h"

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    ARGUMENT_RECEIPT,
    {0},
};

static const char doc[] =
    "Asks whether what a receipt of commit says is still on the record.\v"
    "A genuine receipt without its record proves that the database has lost acknowledged use; what "
    "it was is printed. Exits with 4 then, and with 1 if no key of the server has signed the "
    "receipt.\n\n"
    "  holdfast verify --receipt RECEIPT";

static enum cli_exit exit_of(Holdfast__V1__ReceiptVerdict verdict)
{
    if (verdict == HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_FOUND)
        return CLI_OK;
    return verdict == HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_FORGED ? CLI_REFUSED
                                                                            : CLI_UNBALANCED;
}

static void print_verified(const Holdfast__V1__VerifyReceiptResponse *response)
{
    printf("%s: %s\n", print_verdict(response->verdict), response->detail);
    if (response->verdict == HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_FORGED)
        return;
    printf("  %s%s%s job %s attempt %s%s at ", response->tenant, *response->scope ? "/" : "",
           response->scope, response->job_id, response->attempt, response->late ? " (late)" : "");
    print_time(stdout, response->commit_time);
    putchar('\n');
    print_committed(stdout, response->n_committed, response->committed);
}

int command_verify(struct cli *cli, int argc, char **argv)
{
    Holdfast__V1__VerifyReceiptRequest request = HOLDFAST__V1__VERIFY_RECEIPT_REQUEST__INIT;
    Holdfast__V1__VerifyReceiptResponse *response = NULL;
    struct arguments arguments = {.needs = ARGUMENTS_NEED_RECEIPT};
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call;
    int result;

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    call = cli_call_options(cli);
    request.tenant = arguments_text(arguments.tenant);
    request.receipt = arguments_text(arguments.receipt);
    if (holdfast_v1_quota_service_verify_receipt(cli_channel(cli), &call, &request, &response,
                                                 &status)) {
        result = cli_fail(cli, CLI_CALL_READS, &status);
    } else {
        if (cli->json)
            cli_print_json(&response->base);
        else
            print_verified(response);
        result = exit_of(response->verdict);
        holdfast__v1__verify_receipt_response__free_unpacked(response, NULL);
    }
    stub_status_clear(&status);
    return result;
}
