/*
 * Tenants and limits through AdminService, as apply and replay need them.
 *
 * Synchronous; one thread at a time. Each change carries a request id of its own and is repeated with
 * it while the server is away, so it is made once.
 */
#ifndef HOLDFAST_CLI_ADMIN_H
#define HOLDFAST_CLI_ADMIN_H

#include "cli/cli.h"

#include "holdfast/v1/admin_service.stub.h"

#include <stdbool.h>

/*
 * All of these: false if the call failed, then *ret_status tells how; else *ret is the reply, or NULL
 * if there is no such thing, to be freed with its free_unpacked.
 */
bool admin_find_tenant(struct cli *cli, const char *tenant, Holdfast__V1__Tenant **ret,
                       struct stub_status *ret_status);
bool admin_find_limit(struct cli *cli, const char *tenant, const char *limit_id,
                      Holdfast__V1__Limit **ret, struct stub_status *ret_status);

/* Adds the tenant, or replaces it if etag is set. reason stands in the audit row. */
bool admin_put_tenant(struct cli *cli, Holdfast__V1__Tenant *tenant, bool create,
                      const char *reason, struct stub_status *ret_status);
bool admin_put_limit(struct cli *cli, Holdfast__V1__Limit *limit, const char *reason,
                     struct stub_status *ret_status);
bool admin_delete_limit(struct cli *cli, const char *tenant, const Holdfast__V1__Limit *limit,
                        const char *reason, struct stub_status *ret_status);

/* All limits of the tenant; *ret has *ret_count of them, for admin_limits_free. */
bool admin_list_limits(struct cli *cli, const char *tenant, Holdfast__V1__Limit ***ret,
                       size_t *ret_count, struct stub_status *ret_status);
void admin_limits_free(Holdfast__V1__Limit **limits, size_t count);

#endif
