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

/* The line that it changes is still in some script, or it needs none. */
bool mutant_applies(enum mutant mutant);

/* The script with the hole in it, to be freed; NULL: it has no such line, or none is wanted. */
char *mutant_script(const char *script, unsigned long len);

#endif
