#include "cli/arguments.h"
#include "cli/print.h"
#include "cli/tenants.h"

#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.stub.h"

#include <inttypes.h>
#include <string.h>

static const struct argp_option options[] = {
    ARGUMENT_TENANT,
    ARGUMENT_RECEIPT,
    {0},
};

static const char doc[] =
    "Asks whether the books prove themselves: of one tenant, or of all; or whether what a receipt of "
    "commit says is still on the record.\v"
    "The entries of each limit and period must have their numbers without a gap, add up to what the "
    "quota says, and be those that were sealed. The first entry of each that is wrong is named. A "
    "genuine receipt without its record proves that the database has lost acknowledged use; what it "
    "was is printed. Exits with 4 if anything is wrong, and with 1 if no key of the server has signed "
    "the receipt. The time for a call (--timeout) does not count for the books.\n\n"
    "  holdfast verify\n"
    "  holdfast verify -t demo\n"
    "  holdfast verify --receipt RECEIPT";

/* --- a receipt -------------------------------------------------------------------------------- */

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

static int verify_receipt(struct cli *cli, const struct arguments *arguments)
{
    Holdfast__V1__VerifyReceiptRequest request = HOLDFAST__V1__VERIFY_RECEIPT_REQUEST__INIT;
    Holdfast__V1__VerifyReceiptResponse *response = NULL;
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_call_options call = cli_call_options(cli);
    int result;

    request.tenant = arguments_text(arguments->tenant);
    request.receipt = arguments_text(arguments->receipt);
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

/* --- the books -------------------------------------------------------------------------------- */

static int show_books(const struct cli *cli, const char *tenant,
                      const Holdfast__V1__VerifyTenantResponse *books)
{
    if (cli->json) {
        cli_print_json(&books->base);
    } else {
        printf("%s: %s; %" PRId64 " entries of %" PRId64 " quotas, %" PRId64 " seals, %" PRId64
               " entries not sealed yet\n",
               tenant, books->wrong ? "WRONG" : "right", books->entries, books->quotas,
               books->seals, books->unsealed);
        for (size_t i = 0; i < books->n_findings; i++)
            printf("  %s\n", books->findings[i]);
        if ((size_t)books->wrong > books->n_findings)
            printf("  %zu more\n", (size_t)books->wrong - books->n_findings);
        fflush(stdout);
    }
    return books->wrong ? CLI_UNBALANCED : CLI_OK;
}

static int verify_tenant(struct cli *cli, const char *tenant)
{
    Holdfast__V1__VerifyTenantRequest request = HOLDFAST__V1__VERIFY_TENANT_REQUEST__INIT;
    Holdfast__V1__VerifyTenantResponse *books;
    struct stub_call_options call = cli_call_options(cli);
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_stream *stream;
    int result = CLI_SERVER;

    call.timeout_us = INT64_MAX;
    request.tenant = arguments_text(tenant);
    stream = holdfast_v1_admin_service_verify_tenant_open(cli_channel(cli), &call, &request);
    while (holdfast_v1_admin_service_verify_tenant_recv(stream, -1, &books) == STUB_RECV_MESSAGE) {
        if (books->done)
            result = show_books(cli, tenant, books);
        holdfast__v1__verify_tenant_response__free_unpacked(books, NULL);
    }
    stub_stream_close(stream, &status);
    if (status.code != STUB_OK)
        result = cli_fail(cli, CLI_CALL_READS, &status);
    stub_status_clear(&status);
    return result;
}

int command_verify(struct cli *cli, int argc, char **argv)
{
    struct arguments arguments = {0};

    arguments_parse(cli, options, NULL, doc, argc, argv, &arguments);
    if (*arguments.receipt)
        return verify_receipt(cli, &arguments);
    return *arguments.tenant ? verify_tenant(cli, arguments.tenant)
                             : tenants_each(cli, verify_tenant);
}
