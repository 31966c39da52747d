/*
 * Tenants and limits through AdminService, as apply and replay need them.
 *
 * Synchronous; one thread at a time. Each change carries a request id of its own and is repeated with
 * it while the server is away, so it is made once.
 */
#ifndef HOLDFAST_CLI_ADMIN_H
#define HOLDFAST_CLI_ADMIN_H

#include "cli/cli.h"
#include "cli/room.h"

#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.pb-c.h"

#include <stdbool.h>

/*
 * After a call that failed: true if it is worth another attempt, after a pause; then the status is cleared.
 * start_us (clock_mono_us) is that of the first. All attempts together take no longer than the time for
 * one call, or twice that when the last one hangs.
 */
bool admin_again(const struct cli *cli, struct stub_status *status, int64_t start_us);

/*
 * All of these: false if the call failed, then *ret_status tells how; else *ret is the reply, or NULL
 * if there is no such thing, to be freed with its free_unpacked.
 */
bool admin_find_tenant(struct cli *cli, const char *tenant, Holdfast__V1__Tenant **ret,
                       struct stub_status *ret_status);

struct admin_change {
    const char *reason; /* for the audit row */
    bool validate_only; /* have it checked, change nothing */
};

/* Adds the tenant, or replaces it if etag is set. */
bool admin_put_tenant(struct cli *cli, Holdfast__V1__Tenant *tenant, bool create,
                      const struct admin_change *how, struct stub_status *ret_status);
bool admin_put_limit(struct cli *cli, Holdfast__V1__Limit *limit, const struct admin_change *how,
                     struct stub_status *ret_status);
bool admin_delete_limit(struct cli *cli, const char *tenant, const Holdfast__V1__Limit *limit,
                        const struct admin_change *how, struct stub_status *ret_status);

/* Repairs accounts that differ, of a page of the tenant's limits and periods. */
bool admin_repair_drift(struct cli *cli, const char *tenant, const char *page_token,
                        const struct admin_change *how, Holdfast__V1__RepairDriftResponse **ret,
                        struct stub_status *ret_status);

/* Accepts what the database has lost of the tenant; *ret is to be freed. */
bool admin_accept_loss(struct cli *cli, const char *tenant, const struct admin_change *how,
                       Holdfast__V1__AcceptLossResponse **ret, struct stub_status *ret_status);

/* What the server allows; the bounds that it does not tell are 0. */
bool admin_bounds(struct cli *cli, struct room_bounds *ret, struct stub_status *ret_status);

/* All limits of the tenant; *ret has *ret_count of them, for admin_limits_free. */
bool admin_list_limits(struct cli *cli, const char *tenant, Holdfast__V1__Limit ***ret,
                       size_t *ret_count, struct stub_status *ret_status);
void admin_limits_free(Holdfast__V1__Limit **limits, size_t count);

/*
 * What is used and held in the tenant and all its scopes: the pages as they came, after those that *ret
 * has already, for admin_usage_free in any case.
 */
bool admin_usage(struct cli *cli, const char *tenant, Holdfast__V1__GetUsageResponse ***ret,
                 size_t *ret_count, struct stub_status *ret_status);
void admin_usage_free(Holdfast__V1__GetUsageResponse **pages, size_t count);

#endif
