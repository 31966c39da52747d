/*
 * Reserve, told in steps between store calls: plan which quotas, read the script's answer, decide.
 * The steps neither block nor lock; the worker and the granter call them and do the calls between.
 *
 *     op_reserve_start ── plan cached ──> worker ── ADMITTED ─────────────> ALLOW, WARN
 *                     └── not cached ─┐      └─ SHORT, KNOWN, DUE, FINAL, STALE, guard lost ─┐
 *                                     └────────────────────> granter (op/grant.c) <──────────┘
 */
#ifndef HOLDFAST_OP_RESERVE_H
#define HOLDFAST_OP_RESERVE_H

#include "counter/counter.h"
#include "op/op.h"
#include "quota/settle.h"

/* What is known of one quota that the reservation counts against. */
struct reserve_quota {
    bool have_row;
    struct settle_quota row;     /* as the granter read it; names point into the plan */
    int64_t old_leases_units;
    bool root_refused;           /* the root had no more to lend */
};

struct op_reserve_work {
    struct op_reserve *next;     /* in the list of whoever has it */
    const char *identity;
    int64_t now_ms;              /* of the last script */
    size_t quotas_count;
    struct hold_quota quotas[HOLD_QUOTAS_MAX];
    int64_t softs[HOLD_QUOTAS_MAX];
    struct counter_reserve_item item; /* the last script's answer */
    bool asked;                  /* item has an answer */
    struct reserve_quota *known; /* HOLD_QUOTAS_MAX of them once the granter has the op */
    int rounds;                  /* grants that were not enough */
    int reaps;
    bool wants_reap;
    bool never;                  /* an amount is above its hard cap */
    bool answered;
    /*
     * An attempt whose hold stands under leases that are gone: this Reserve takes its place instead of
     * replaying it (op/extend.c). {0, 0}: none.
     */
    struct attempt superseded;
};

/* Makes the work, before anything else. */
void reserve_begin(struct op_reserve *op);

/* Fills the work from the plan at now_ms. False: the op has failed (NO_LIMIT ...). */
bool reserve_plan(struct op_reserve *op, int64_t now_ms);

/* The script item of this op, to be sent at now_ms. */
struct counter_reserve_item reserve_item(struct op_reserve *op, int64_t now_ms);

/* Copies the answer out of the worker's scratch memory, before the op moves on. */
void reserve_keep_answer(struct op_reserve *op);

/* ADMITTED: builds hold, quotas and decision. */
void reserve_admitted(struct op_reserve *op);

/* The job has this live hold: the same request gets it again, another one is refused. */
void reserve_replay(struct op_reserve *op, struct slice entry);

/* The job was committed. */
void reserve_committed(struct op_reserve *op, const struct settle_record *record);

/* Redis and the root both say no. */
void reserve_rejected(struct op_reserve *op, int64_t earliest_free_ms, int64_t latest_free_ms);

/* The tenant is suspended. */
void reserve_suspended(struct op_reserve *op);

/* Sends the op to the granter; answers OVERLOADED if that is full. */
void reserve_to_granter(struct op_reserve *op);

/* Calls done. */
void reserve_finish(struct op_reserve *op);

#endif
