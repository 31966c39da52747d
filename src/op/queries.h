/*
 * Reads: Check, GetReservation, ListReservations, GetUsage, VerifyReceipt, and the plan that a Watch
 * begins with.
 * Each runs on a desk and changes nothing. In-parts are filled by rpc/ and were validated there;
 * answers live in the op's arena or in op->plan.
 */
#ifndef HOLDFAST_OP_QUERIES_H
#define HOLDFAST_OP_QUERIES_H

#include "op/op.h"
#include "quota/receipt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op_check {
    struct op op;
    /* in */
    struct slice scope;
    size_t meters_count;
    const struct hold_meter *meters;
    const size_t *amounts_index; /* as in op_reserve */
    bool deferrable;
    /* out */
    enum decision decision;
    size_t reasons_count;
    struct op_reason *reasons;
    int64_t retry_after_ms;
    size_t quotas_count;
    struct op_quota *quotas; /* without what was asked about */
};

void op_check_start(struct op_check *op);

/* Values as in holdfast.v1.ReservationState. */
enum reservation_state {
    RESERVATION_HELD = 1,
    RESERVATION_COMMITTED = 2,
    RESERVATION_RELEASED = 3,
    RESERVATION_EXPIRED = 4,
};

struct op_counted {
    struct slice limit_name;
    int64_t period_start_ms; /* 0: NEVER */
};

struct op_reservation {
    struct slice job_id, scope;
    struct attempt attempt;
    enum reservation_state state;
    size_t meters_count;
    const struct hold_meter *meters;          /* what is or was held */
    const struct settle_record *record;       /* COMMITTED */
    int64_t created_ms, expire_ms, finish_ms; /* 0: not known */
    size_t counted_count;
    struct op_counted *counted;
};

struct op_get_reservation {
    struct op op;
    /* in */
    const struct token *token;
    struct slice job_id;
    /* out */
    struct op_reservation found;
};

void op_get_reservation_start(struct op_get_reservation *op);

struct op_list_reservations {
    struct op op;
    /* in */
    struct slice scope; /* these and below; empty: all */
    size_t max;
    int64_t after_deadline_ms; /* -1: from the first */
    struct slice after_job_id;
    /* out */
    size_t found_count;
    struct op_reservation *found;
    bool more;     /* and then the after_ fields are those of the next page */
    bool degraded; /* Redis is away: without what it holds */
};

void op_list_reservations_start(struct op_list_reservations *op);

struct op_usage {
    struct op op;
    /* in */
    struct slice scope, meter; /* empty meter: all */
    bool include_descendants;
    size_t max;
    struct slice after; /* name of the last limit of the page before */
    /* out */
    size_t quotas_count;
    struct op_quota *quotas; /* sorted by name */
    bool more;
    struct slice last;
    bool degraded;
    int64_t event_seq;
};

void op_usage_start(struct op_usage *op);

/* Values as in holdfast.v1.ReceiptVerdict. */
enum receipt_verdict {
    RECEIPT_FOUND = 1,
    RECEIPT_MISSING = 2,
    RECEIPT_DIFFERENT = 3,
    RECEIPT_FORGED = 4, /* said by rpc/, which has the keys */
};

struct op_verify_receipt {
    struct op op;
    /* in */
    struct receipt receipt; /* genuine */
    /* out */
    enum receipt_verdict verdict;
    const char *detail; /* a sentence */
};

void op_verify_receipt_start(struct op_verify_receipt *op);

/* Only finds the tenant: op->plan, as the database has it now. */
void op_plan_start(struct op *op);

/* Quotas in their current periods, committed use exact at one event. */
struct op_snapshot {
    struct op op;
    /* in */
    bool (*wants)(struct op_snapshot *op, struct slice scope, struct slice meter);
    /*
     * On the desk, once, unless the op fails: what there is. The memory of quotas is taken back
     * afterwards, because the op may live as long as a stream.
     */
    void (*show)(struct op_snapshot *op, const struct op_quota *quotas, size_t count);
    /* out, for show and done */
    int64_t event_seq;
    bool degraded;
};

void op_snapshot_start(struct op_snapshot *op);

/* --- shared by the reads ---------------------------------------------------------------------- */

/* op->plan as the database has it now, not from the cache. False: the op has failed. */
MUST_CHECK bool query_plan(struct op *op, struct stores *stores);

/* REDIS_UNAVAILABLE or SHARD_RECOVERING. */
void query_fail_counter(struct op *op, bool recovering);

/* From a hold; names of its limits as the plan has them. */
void reservation_from_hold(struct op *op, const struct hold *hold, struct op_reservation *found);

#endif
