/*
 * Changes and lists of tenants and limits. Each runs on a desk: one transaction of the ledger, then
 * whatever makes every server obey (Redis learns the new config version, so that every script with
 * an older plan is refused; a lowered limit takes idle capacity back), then done.
 *
 * In-parts are filled by rpc/ and were validated there; what they point to lives in the op's arena.
 */
#ifndef HOLDFAST_OP_ADMIN_H
#define HOLDFAST_OP_ADMIN_H

#include "ledger/adjust.h"
#include "ledger/ledger.h"
#include "ledger/reconcile.h"
#include "ledger/repair.h"
#include "ledger/verify.h"
#include "op/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op_tenant { /* CreateTenant, UpdateTenant */
    struct op op;
    struct ledger_note note;
    struct slice etag;
    bool validate_only;
    struct ledger_tenant tenant; /* in: as it is to become; out: as it is */
};

void op_tenant_create_start(struct op_tenant *op);
void op_tenant_update_start(struct op_tenant *op);

struct op_tenants { /* ListTenants */
    struct op op;
    struct slice prefix, after;
    size_t max;
    /* out */
    struct ledger_tenant *tenants;
    size_t tenants_count;
    bool more;
};

void op_tenants_start(struct op_tenants *op);

struct op_accept { /* AcceptLoss */
    struct op op;
    struct ledger_note note;
    bool validate_only;
    /* out */
    struct ledger_loss *losses;
    size_t losses_count;
};

void op_accept_start(struct op_accept *op);

struct op_verify { /* VerifyTenant */
    struct op op;  /* its tenant stays empty: nobody is to wait for a desk behind it */
    struct slice name;
    /* From the desk, now and then; false: the caller is gone. May be NULL. */
    bool (*progress)(struct op_verify *op, const struct ledger_verified *so_far);
    /* out */
    struct ledger_verified verified;
};

void op_verify_start(struct op_verify *op);

/* One quota's accounts, and where they differ. */
struct op_reconciled {
    const struct ledger_sums *sums; /* with Redis */
    int64_t redis_held;
    size_t drifts_count;
    struct drift drifts[DRIFT_KINDS];
    int64_t since_ms[DRIFT_KINDS]; /* of each; 0: not known */
};

struct op_reconciliation { /* GetReconciliation */
    struct op op;          /* its tenant stays empty: nobody is to wait for a desk behind it */
    struct slice name;
    size_t max;
    struct quota_ref after; /* {0, -1}: from the first */
    /* out */
    size_t quotas_count;
    struct op_reconciled *quotas;
    bool more;
    bool degraded; /* Redis did not answer */
};

void op_reconciliation_start(struct op_reconciliation *op);

struct op_repair { /* RepairDrift */
    struct op op;  /* its tenant stays empty: nobody is to wait for a desk behind it */
    struct slice name, limit_name; /* limit_name empty: all */
    struct ledger_note note;
    bool validate_only;
    size_t max;
    struct quota_ref after; /* {0, -1}: from the first */
    /* out */
    size_t quotas_count;
    struct ledger_repaired *quotas; /* those that differed, and others */
    int64_t (*since_ms)[DRIFT_KINDS];
    bool more;
    bool degraded; /* Redis did not answer */
    int64_t looked_at;
};

void op_repair_start(struct op_repair *op);

struct op_adjust { /* Adjust */
    struct op op;
    struct ledger_adjusting adjusting; /* in: reason, item; out: item, quotas */
};

void op_adjust_start(struct op_adjust *op);

struct op_limit { /* PutLimit, DeleteLimit */
    struct op op;
    struct ledger_note note;
    struct slice etag;
    bool validate_only;
    struct ledger_limit limit; /* in: as it is to become (Delete: its name); out: as it is, or was */
    /* out, PutLimit */
    bool created;
    bool pending;              /* some server or Redis has not been told yet */
    struct op_quota quota;     /* the current period */
    struct ledger_limit asked; /* private to op/ */
};

void op_limit_put_start(struct op_limit *op);
void op_limit_delete_start(struct op_limit *op);

struct op_limits { /* ListLimits; implicit limits are left out */
    struct op op;
    struct slice after;
    size_t max;
    /* out */
    struct ledger_limit *limits;
    size_t limits_count;
    bool more;
    struct slice next_after; /* if more */
};

void op_limits_start(struct op_limits *op);

/* --- shared by the changes -------------------------------------------------------------------- */

/* What the ledger answered becomes the op's error. True: it was done, or repeated. */
bool admin_done(struct op *op, const struct stores *stores, enum status status,
                enum ledger_admin answer);

/*
 * After a change of the tenant's configuration: no server may go on with an older plan. Reads the
 * plan anew (kept in op->plan) and brings its version to Redis. False: Redis could not be told; every
 * server's janitor brings the version with its next beat.
 */
MUST_CHECK bool admin_publish(struct op *op, struct stores *stores);

#endif
