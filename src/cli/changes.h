/*
 * What has to be changed on the server so that it is as a file says: read from the server, compared, in
 * the order in which the changes are to be made. What the file does not say stays as it is.
 *
 * Synchronous; one thread.
 */
#ifndef HOLDFAST_CLI_CHANGES_H
#define HOLDFAST_CLI_CHANGES_H

#include "cli/cli.h"
#include "cli/quotas_file.h"

#include "holdfast/v1/admin_service.pb-c.h"
#include "holdfast/v1/quota.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

enum change_kind {
    CHANGE_CREATE_TENANT,
    CHANGE_UPDATE_TENANT,
    CHANGE_CREATE_LIMIT,
    CHANGE_UPDATE_LIMIT,
    CHANGE_DELETE_LIMIT,
};

struct change {
    enum change_kind kind;
    int line;                                  /* of the file */
    bool tenant_is_new;                        /* made by a change before this one */
    Holdfast__V1__Tenant tenant;               /* as it is to become; of a limit only its name */
    const Holdfast__V1__Tenant *tenant_before; /* NULL if there is none */
    Holdfast__V1__Limit limit;                 /* as it is to become; to be deleted: as it is */
    const Holdfast__V1__Limit *limit_before;   /* NULL if there is none */
    bool own_max_ttl;                          /* limit.max_ttl is the one here */
    bool own_anchor;                           /* limit.anchor_time likewise */
    bool after_deletes; /* there is room for it only when limits are deleted, which come first */
    Google__Protobuf__Duration max_ttl;
    Google__Protobuf__Timestamp anchor_time;
    const Holdfast__V1__QuotaState *in_use; /* where the amount becomes less than what is in use */
};

struct stored; /* private: what the server has of a tenant */

/* The changes point into the file and into what was read; both must outlive them. */
struct changes {
    struct change *list;
    size_t count;
    size_t unchanged;
    struct stored *stored;
    size_t stored_count;
    const struct quotas_file_tenant *reading; /* after a failure: the tenant that it is about */
};

/*
 * prune: limits that the file does not name are deleted, in tenants whose `limits` it gives. False: a call
 * failed, *ret_status tells how. changes_destroy is due in either case.
 */
bool changes_find(struct cli *cli, const struct quotas_file *file, bool prune, struct changes *ret,
                  struct stub_status *ret_status);

/*
 * Is there room on the server for the limits that are added, all together? In a tenant that has room only
 * without the limits that are deleted, these are moved to the front; elsewhere limits are added first, so
 * that a meter whose limit is replaced is never without. Each tenant that has no room at all is told;
 * *ret_fit says whether all have. False: a call failed.
 */
bool changes_fit(struct cli *cli, struct changes *changes, const char *path, bool *ret_fit,
                 struct stub_status *ret_status);

void changes_destroy(struct changes *changes);

/* Makes the change, or has the server check it. False: *ret_status tells why not. */
bool change_make(struct cli *cli, struct change *change, bool validate_only, const char *reason,
                 struct stub_status *ret_status);

#endif
