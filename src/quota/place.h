/*
 * Holds in Postgres: how a job takes one, how it lasts longer, how it ends by itself. Pure, on rows that the
 * caller has locked; Commit and Release of such a hold are in settle.h, with those of all others.
 *
 * A hold is admitted under the condition of every grant, on each of its quotas:
 *
 *     committed + debt + pg_held + leased + x <= cap        (deferrable: <= soft)
 *
 * What is leased counts in full, whether a hold in Redis has it or not: nobody asks Redis. So these numbers
 * warn earlier than those of Redis, and a refusal is certain only if it fits neither without what is leased.
 */
#ifndef HOLDFAST_QUOTA_PLACE_H
#define HOLDFAST_QUOTA_PLACE_H

#include "quota/book.h"
#include "quota/hold.h"
#include "quota/settle.h"

#include <stdbool.h>
#include <stdint.h>

enum place_end {
    PLACE_OPEN,
    PLACE_TAKEN,      /* hold: a new row of pg_hold */
    PLACE_STANDS,     /* hold: the job has one, which is live */
    PLACE_DUE,        /* hold: the job has one past its deadline, to be reaped first */
    PLACE_COMMITTED,  /* facts->record */
    PLACE_SHORT,      /* some quota has no room; certain tells more */
    PLACE_GONE,       /* a quota is not there, closed or over: plan anew */
    PLACE_UNREADABLE, /* the job's row cannot be read */
    PLACE_INCONSISTENT,
};

struct place {
    /* in */
    int64_t tenant_id;
    struct slice job_id;
    const struct hold *wanted; /* scope, mode, meters, and of each quota meter, quota and units */
    int64_t ttl_ms;
    bool deferrable;
    struct settle_facts *facts; /* shared by all items of the job */
    /* out */
    enum place_end end;
    bool certain; /* SHORT: nothing that Redis gives back can make room enough */
    const struct hold *hold;
};

/*
 * Decides and changes the rows of the book and the facts; all but TAKEN leave them as they were. A new hold
 * is in the arena of the book, with names and meters of `wanted`.
 */
void place_decide(struct book *book, struct place *place);

enum place_move_end {
    PLACE_MOVED,           /* hold: with its new deadline */
    PLACE_MOVE_NONE,       /* no such row: facts tell what became of it */
    PLACE_MOVE_DUE,        /* too late */
    PLACE_MOVE_UNREADABLE, /* as above */
};

struct place_move {
    int64_t tenant_id;
    struct slice job_id;
    struct attempt attempt; /* {0, 0}: whatever the job holds in Postgres */
    int64_t ttl_ms, lifetime_ms;
    struct settle_facts *facts;
    enum place_move_end end;
    const struct hold *hold;
};

/* A later deadline: now + ttl, at most created + lifetime, and never an earlier one. */
void place_extend(struct book *book, struct place_move *move);

/*
 * The hold's row stands, as it was read before the locks, and it is due: what it has leaves pg_held. False:
 * it was extended, has ended, or its quotas are not locked; nothing is changed.
 */
bool place_reap(struct book *book, int64_t tenant_id, struct settle_facts *facts,
                struct attempt attempt);

#endif
