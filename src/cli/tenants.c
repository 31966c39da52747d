#include "cli/tenants.h"

#include "holdfast/v1/admin_service.stub.h"

int tenants_each(struct cli *cli, int (*run)(struct cli *cli, const char *tenant))
{
    Holdfast__V1__ListTenantsRequest request = HOLDFAST__V1__LIST_TENANTS_REQUEST__INIT;
    Holdfast__V1__ListTenantsResponse *page = NULL, *next = NULL;
    struct stub_status status = STUB_STATUS_INIT;
    int result = CLI_OK;

    request.page_size = 1000;
    do {
        struct stub_call_options call = cli_call_options(cli);

        if (holdfast_v1_admin_service_list_tenants(cli_channel(cli), &call, &request, &next,
                                                   &status)) {
            result = cli_fail(cli, CLI_CALL_READS, &status);
            break;
        }
        if (page)
            holdfast__v1__list_tenants_response__free_unpacked(page, NULL);
        page = next;
        for (size_t i = 0; i < page->n_tenants && result != CLI_SERVER; i++) {
            int one = run(cli, page->tenants[i]->tenant);

            result = one == CLI_OK ? result : one;
        }
        request.page_token = page->next_page_token;
    } while (*page->next_page_token && result != CLI_SERVER);
    if (page)
        holdfast__v1__list_tenants_response__free_unpacked(page, NULL);
    stub_status_clear(&status);
    return result;
}
