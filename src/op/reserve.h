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
    struct quota_row row; /* as the granter read it; names point into the plan */
    int64_t old_leases_units;
    bool root_refused; /* the root had no more to lend */
};

/*
 * Where a Reserve is. Workers and granters move it with reserve_step, which checks both the step and
 * what is true in each stage (reserve.c has the table).
 *
 *     BEGUN ──> PLANNED ──script──> STALE ───────────> PLANNED   the plan is loaded anew
 *       │          │            ├─> KNOWN ── ledger ──> ANSWERED, or script again (a fence: removed)
 *       │          │            ├─> DUE ──── reap ────> script again
 *       │          │            ├─> SHORT ── root ────> script again; CROWDED; NEVER
 *       │          │            └─> ANSWERED            admitted
 *       └──────────┴─> REFUSED ── Redis, ledger ──────> ANSWERED   by the plan, unless it is a repeat
 *
 * From any of them, where a script cannot run: AWAY ── the database takes the hold ──> ANSWERED
 */
enum reserve_stage {
    RESERVE_BEGUN,   /* no quotas are chosen: the plan is needed */
    RESERVE_PLANNED, /* quotas are chosen, and no script has run for them */
    RESERVE_STALE,   /* Redis has another config version */
    RESERVE_KNOWN,   /* the job is held or was committed: the ledger is to be asked */
    RESERVE_DUE,     /* the job has a hold past its deadline, which is to be reaped */
    RESERVE_SHORT,   /* some quota falls short: the root is to be asked */
    RESERVE_CROWDED, /* the root said no, and due holds may make room: they are to be reaped */
    RESERVE_NEVER,   /* an amount is above its hard cap: the root is to be shown */
    RESERVE_AWAY,    /* Redis cannot be used: the database is to take the hold */
    RESERVE_REFUSED, /* the plan does not admit it: only a repeat gets another answer */
    RESERVE_STUCK, /* somebody keeps a row of the tenant locked, or much is to be reaped: it waits alone */
    RESERVE_ANSWERED,
};

struct op_reserve_work {
    enum reserve_stage stage;
    const char *identity;
    int64_t now_ms; /* of the last script */
    size_t quotas_count;
    struct hold_quota *quotas; /* made by reserve_plan, like the next two: as many as there are */
    int64_t *softs;
    const struct stops **crossings; /* see struct counter_reserve_item */
    struct hold_warning *warnings;  /* what the hold keeps of each if it warns; names of the plan */
    struct counter_reserve_item item; /* the last script's answer */
    bool redis_unasked;               /* it could not be asked whether it holds the job */
    bool holds_lost;             /* Redis lost the tenant's holds: no hold there says nothing */
    struct reserve_quota *known; /* quotas_count of them once the granter has the op */
    bool placed_asked;           /* the job has no hold in Postgres, or had none a moment ago */
    bool shortened;  /* Postgres cannot have it for as long as was asked: Redis may, for less */
    bool maybe_held; /* a script was sent for it and not answered: a hold may be there */
    int places;      /* tries to have the hold in Postgres */
    int rooms;       /* times that due holds in Postgres were reaped for it */
    bool none_due;   /* and the last time there were no more of them */
    bool has_placed; /* CROWDED: by holds in Postgres */
    bool asks_anew;  /* some were reaped: the root may have room that it did not have */
    int rounds;      /* grants that were not enough */
    int reaps;
    int stales; /* scripts that found another config version just after Redis was given this one */
};

/* Moves the op on. */
void reserve_step(struct op_reserve *op, enum reserve_stage to);

static inline bool reserve_is(const struct op_reserve *op, enum reserve_stage stage)
{
    return op->work->stage == stage;
}

/* work->item is what a script said of the quotas as they are chosen now. */
bool reserve_has_answer(const struct op_reserve *op);

/*
 * Fills the work from the plan at now_ms; the stage stays. False: the op has failed (NO_LIMIT ...), and
 * the worker or granter may clear the error and look whether it is a repeat.
 */
bool reserve_plan(struct op_reserve *op, int64_t now_ms);

/*
 * The plan says no (suspended, no limit). Lets go of it unless it is young enough to be believed: the
 * granter then loads another.
 */
void reserve_doubt_plan(struct op_reserve *op);

/* The script item of this op, to be sent at now_ms. */
struct counter_reserve_item reserve_item(struct op_reserve *op, int64_t now_ms);

/*
 * The script's answer: the op steps on, ADMITTED to ANSWERED with hold, quotas and decision. What the
 * other answers point to is copied out of the thread's scratch memory.
 */
void reserve_take_answer(struct op_reserve *op, const struct counter_reserve_item *item);

/* The job has this live hold: the same request gets it again, another one is refused. */
void reserve_replay(struct op_reserve *op, struct slice entry);

/* The same, where it is read already. */
void reserve_replay_hold(struct op_reserve *op, const struct hold *hold);

/* The job holds this in Postgres from now on; rows[i] is that of its i-th quota. */
void reserve_placed(struct op_reserve *op, const struct hold *hold, const struct quota_row *rows);

/* The job has this hold, which no store counts. */
void reserve_opened(struct op_reserve *op, const struct hold *hold);

/* How long a hold of it lasts at first, in Redis or in Postgres. */
int64_t reserve_ttl_ms(const struct op_reserve *op, bool in_postgres);

/* It is to last longer than a hold in Redis may, and Postgres has not said that it cannot have it. */
bool reserve_is_long(const struct op_reserve *op);

/* The job was committed. */
void reserve_committed(struct op_reserve *op, const struct settle_record *record);

/* The root says no, and Redis was not asked: as the rows show it. */
void reserve_root_rejected(struct op_reserve *op, const struct quota_row *rows);

/* Redis and the root both say no. */
void reserve_rejected(struct op_reserve *op, int64_t earliest_free_ms, int64_t latest_free_ms);

/* The tenant is suspended. */
void reserve_suspended(struct op_reserve *op);

/* Sends the op to the granter; answers OVERLOADED if that is full. */
void reserve_to_granter(struct op_reserve *op);

/* Answered: calls done; the op is gone. */
void reserve_finish(struct op_reserve *op);

#endif
