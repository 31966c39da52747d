/*
 * Holes made on purpose, one at a time: a run with one of them must break a promise, or the simulation
 * could not have found it. Some change a line of a script before it is compiled, others are a way in which
 * the database does what looks right and is not (the pretended one asks for them).
 */
#ifndef HOLDFAST_TESTS_SIM_MUTANTS_H
#define HOLDFAST_TESTS_SIM_MUTANTS_H

#include <stdbool.h>
#include <stdio.h>

enum mutant {
    MUTANT_NONE,
    MUTANT_GUARD_WITHOUT_REPLID,  /* an old snapshot passes for the Redis that it was */
    MUTANT_SPENT_IS_ADDED,        /* totals are summed up instead of compared */
    MUTANT_SHORT_IS_ADMITTED,     /* a script admits what does not fit */
    MUTANT_VANISHED_IS_NEW,       /* a key that is gone is filled again under the same lease */
    MUTANT_RELEASE_WITHOUT_FENCE, /* a release exists in Redis only */
    MUTANT_REMOVAL_IGNORES_LEASE, /* H falls for holds of an older lease */
    MUTANT_OK_BEFORE_COMMIT,      /* answered before the COMMIT's own result */
    MUTANT_ROOT_WITHOUT_CAP,      /* lends without a look at the cap */
    MUTANT_LOCK_WAITS_FOR_EVER,   /* a locked row is waited for as long as it takes */
    MUTANT_EXTEND_STAYS,          /* an Extend is done before the deadline has moved */
    MUTANT_RELEASED_MEANS_NEWER,  /* the id of a released attempt commits the job's live one */
    MUTANT_LEASE_ENDS_EARLY,      /* a deadline falls below that of a hold */
    MUTANT_DEADLINE_COMES_BACK,   /* totals of before raise a deadline that fell */
    MUTANT_GUARD_WITHOUT_NONCE,   /* an empty Redis passes for the one that was filled */
    MUTANT_REAP_IS_BLIND,         /* a reap does not bring what was spent */
    MUTANT_REAP_BY_LIST,          /* a reap lets go of what was due when it was listed */
    MUTANT_NOTIFY_ANY_ATTEMPT,    /* a removal takes whatever attempt the job has by now */
    MUTANT_DUE_IS_LIVE,           /* a hold past its deadline is shown again */
    MUTANT_HELD_IS_ROUNDED,       /* amounts lose a fraction */
    MUTANT_RETAKE_WITHOUT_ROOM,   /* a hold stands again where there is no room for it */
    MUTANT_RETAKE_ANY_ATTEMPT,    /* an Extend's hold takes the place of a newer one */
    MUTANT_KEPT_IGNORES_RETURNS,  /* a hold moves under a kept lease whose deadline may have fallen */
    MUTANT_STALE_IS_FRESH,        /* a script trusts a plan of an older version */
    MUTANT_EPOCH_IGNORED,         /* a script admits under leases of an earlier epoch */
    MUTANT_PLACE_IGNORES_LEASES,  /* holds in Postgres do not count what is lent */
    MUTANT_LOST_AFTER_ANSWER,     /* a commit is answered, and then not there */
    MUTANT_FACTS_BEFORE_LOCKS,    /* decided on what was read before the locks */
    MUTANT_DEADLINE_BEFORE_LOCKS, /* a token that was in time once is in time for ever */
    MUTANT_LATE_IGNORES_FENCE,    /* a late commit does not ask whether it was released */
    MUTANT_LATE_IS_GONE,          /* a late hold's own units are not its own any more */
    MUTANT_GUESSES_ATTEMPT,       /* no answer from Redis is taken for: it has none */
    MUTANT_FACTS_WITHOUT_FENCES,  /* whoever reads the record beside the committer sees no fence */
    MUTANT_RETURN_IS_FORGOTTEN,   /* what Redis gave back does not reach the root */
    MUTANT_EBB_WITHOUT_NEWS,      /* the root's deadline follows an answer of before */
    MUTANT_REFUSAL_FOR_EVER,      /* a refusal has no end */
    MUTANT_PERIOD_ENDS_LEASES,    /* no lease is pushed once the period is over */
    MUTANT_NOTHING_IS_MENDED,     /* keys that were lost singly are not looked for */
    MUTANT_COMMIT_FAILED_MEANS_NO, /* no result of COMMIT is taken for: not committed */
    MUTANT_REPEAT_IS_NEW,         /* a Reserve or an Extend does not see the record of its job */
    MUTANT_EPOCH_IS_KEPT,         /* an epoch begins above the row's only, whatever Redis has */
    MUTANT_EVENTS_BY_SEQUENCE,    /* events are numbered before they are there */
    MUTANT_EVENT_BEFORE_COMMIT,   /* an event is out before what it tells is */
    MUTANT_REFUSED_UNASKED,       /* what the plan refuses is refused, also to a repeat */
    MUTANT_SHARD_STAYS_UNKNOWN,   /* a server that knows nothing of a shard does not look */
    MUTANT_OPEN_WITHOUT_BOUND,    /* what no store counts, nobody counts */
    MUTANT_CLOSED_IS_SERVED,      /* a limit that is closed while Redis is away is not asked */
    MUTANT_MILDEST_DECIDES,       /* of what the limits of a reservation say then */
    MUTANT_COMMITS_BEFORE_COMPARED, /* a standby that took over is committed to at once */
    MUTANT_LOSS_IS_NOT_ADOPTED,   /* what was lent and forgotten stays forgotten */
    MUTANT_ADJUST_FORGETS,        /* what was corrected of a job before is not asked for */
    MUTANT_ADJUST_IS_NEW,         /* a repeat of a correction is not seen */
    MUTANTS
};

/* The one of this run; MUTANT_NONE at first. */
void mutant_set(enum mutant mutant);
bool mutant_is(enum mutant mutant);

/* False: there is none of this name. */
bool mutant_find(const char *name, enum mutant *ret);
const char *mutant_name(enum mutant mutant);

/* The themes in which it shows, as for --themes. */
const char *mutant_themes(enum mutant mutant);

/* settle_decide, with the holes that are in what it is given. */
struct book;
struct settle_item;
void mutant_settle(struct book *book, struct settle_item *item);

/* Nothing has found it yet: it is run by name only, and README.md says what was tried. */
bool mutant_is_open(enum mutant mutant);

/* The line that it changes is still in some script, or it needs none. */
bool mutant_applies(enum mutant mutant);

/* The script with the hole in it, to be freed; NULL: it has no such line, or none is wanted. */
char *mutant_script(const char *script, unsigned long len);

#endif
