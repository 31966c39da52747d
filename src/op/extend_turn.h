/*
 * One turn of the granter over its Extends, in parts; private to extend*.c. extend.h has the story.
 *
 *     extend.c        what is wanted, the script, the answers
 *     extend_place.c  holds in Postgres, which no script is about
 *     extend_push.c   leases that end too early
 *     extend_judge.c  what the record says, and holds that are to stand again
 */
#ifndef HOLDFAST_OP_EXTEND_TURN_H
#define HOLDFAST_OP_EXTEND_TURN_H

#include "op/granting.h"
#include "op/op.h"
#include "op/retake.h"
#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How an Extend ends, but for stores that fail; extend.h has the table. */
enum extend_end {
    EXTEND_MOVED,
    EXTEND_COMMITTED,
    EXTEND_RELEASED,
    EXTEND_EXPIRED,
    EXTEND_UNKNOWN_JOB,
    EXTEND_NO_ROOM,
    EXTEND_OTHER,
    EXTEND_CHANGING,
    EXTEND_GONE,
    EXTEND_UNMOVED,
    EXTEND_ENDS
};

/* One op of the turn. */
struct turn {
    struct op_extend *op;
    struct counter_extend script;
    enum recovery reason;
    bool placed;              /* the hold is in Postgres, where it is decided */
    bool looks;               /* the script is to show the hold and to move nothing */
    bool shown;               /* it has, and nothing was moved yet */
    bool asked;               /* the script's answer is there */
    const struct hold *found; /* the entry of the script, or NULL */
    int64_t wanted_ms;        /* the deadline that was asked for last */
    bool retakes;             /* the hold is to stand again */
    struct retake *retake;    /* once that was tried */
    bool locked; /* rows of its tenant are, or its shard is busy: it waits alone, and begins anew */
    bool undo;   /* what was written for it is taken back */
    struct settle_facts facts;
};

/* What did not happen, in the text of an error. */
#define EXTEND_UNCHANGED "the expiry is unchanged"

/* The op fails as the table says; MOVED: it stays as it is. */
void turn_end(struct turn *turn, enum extend_end how);

/* Neither failed nor left for later; and of Redis. */
bool turn_is_open(const struct turn *turn);
bool turn_needs_script(const struct turn *turn);
/* It is open, and the script's last answer was DONE; or SHORT, with the hold. */
bool turn_is_done(const struct turn *turn);
bool turn_is_short(const struct turn *turn);

/* What is known of the hold so far; or NULL. */
const struct hold *turn_hold(const struct turn *turn);

/* The deadline that is asked for, as of op.now_ms; and the latest that the hold may have. */
int64_t turn_wanted_ms(const struct turn *turn);
int64_t turn_last_ms(const struct turn *turn, const struct hold *hold);

/* The script, in one round trip, for those that are wanted. */
void turns_run(struct stores *stores, struct turn *turns, size_t count,
               bool (*wanted)(const struct turn *turn));

/* The job has a hold in Postgres that is live. */
bool turn_is_placed(const struct turn *turn, const struct settle_facts *facts);

/* extend_place.c: moves those that are in Postgres. */
void turns_move(struct stores *stores, struct turn *turns, size_t count);

/* extend_push.c: pushes the leases of all that are short. False: none was. */
bool turns_push(struct stores *stores, struct turn *turns, size_t count);

/* extend_judge.c: afterwards each has failed, is locked, or may be told what was found. */
void turns_judge(struct granting *granting, struct turn *turns, size_t count);

/* As if the database had gone away here; for fault points. */
void turns_cut_off(struct turn *turns, size_t count);

#endif
