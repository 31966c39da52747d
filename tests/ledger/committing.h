/*
 * Commits and releases through a committer, as one call each, for its tests.
 */
#ifndef HOLDFAST_TESTS_LEDGER_COMMITTING_H
#define HOLDFAST_TESTS_LEDGER_COMMITTING_H

#include "ledger/committer.h"
#include "tests/ledger/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One Commit or Release of a tenant's job; the committer's answer stands in item. */
struct committing {
    struct commit_item item;
    struct arena arena;
    struct settle_actual actual;
    char job_id[512];
    pthread_mutex_t lock;
    pthread_cond_t finished;
    bool done;
    int dones;
};

/* A committer on the test's Postgres. */
struct committer *committing_committer(void);

/* When that committer is to stop. */
struct stop *committing_stop(void);

/* Events callbacks so far. */
int committing_event_calls(void);

/* A Commit of the whole hold; token NULL: by job id. The caller may change item before submitting. */
void committing_init(struct committing *c, const struct support_tenant *tenant, struct plan *plan,
                     enum settle_kind kind, const char *job_id, const struct hold *token);
void committing_done(struct committing *c);

/* Commit of `units` of the meter "tokens" by this policy. */
void committing_actual(struct committing *c, int64_t units, enum overrun overrun);

void committing_submit(struct committing *c, struct committer *committer);
void committing_wait(struct committing *c);

/* Both: submits and waits; the item's status must be OK. Returns the outcome. */
enum settle_outcome committing_run(struct committing *c, struct committer *committer);

/*
 * Keeps the tenant's quota rows locked until db commits, or for 2 s: what is submitted meanwhile makes
 * one batch.
 */
void committing_lock_quota(struct database *db, const struct support_tenant *tenant);

/*
 * Commits `each` jobs of 3 units from each of 8 threads, calls meanwhile (may be NULL) beside them and
 * waits; returns how many were answered "committed", not as a replay.
 */
int committing_crowd(struct committer *committer, const struct support_tenant *tenant,
                     struct plan *plan, int each, void (*meanwhile)(void));

#endif
