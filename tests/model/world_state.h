/*
 * What the files of the world share: world_rows.c (Postgres and its transactions), world_stores.c
 * (the messenger, the granter, the reaper), world_reserve.c and world_settle.c (the operations),
 * world.c (limits, losses, time, a whole run). One thread.
 */
#ifndef HOLDFAST_TESTS_MODEL_WORLD_STATE_H
#define HOLDFAST_TESTS_MODEL_WORLD_STATE_H

#include "world.h"

#include "base/arena.h"
#include "model.h"
#include "quota/settle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ROWS_MAX = STANDIN_KEYS_MAX,
    LEASES_MAX = 400,
    MESSAGES_MAX = 64,
    TOKENS_MAX = 6,
    TTL_MAX_MS = 40000,
    LIFETIME_MAX_MS = 90000,
    TENANT = 1,
};

/* What is on its way to Redis. */
struct message {
    int64_t epoch;
    int job;                /* -1: totals only */
    struct attempt removed; /* epoch 0: whatever the job holds */
    size_t count;
    struct standin_totals totals[HOLD_QUOTAS_MAX];
};

struct job {
    struct settle_facts facts;
    const struct hold *tokens[TOKENS_MAX];
    int tokens_count;
    char name[16];
};

struct world {
    uint64_t random;
    int64_t now;
    enum mutant mutant;
    bool prompt; /* recalls are served before anything else happens */
    struct arena arena;
    struct plan *plan;
    struct model model;
    struct standin redis, snapshot, zombie;
    bool zombie_lives;
    int64_t epoch;
    struct quota_row rows[ROWS_MAX];
    size_t rows_count;
    struct lease_row leases[LEASES_MAX];
    size_t leases_count;
    struct job jobs[STANDIN_JOBS_MAX];
    int jobs_count;
    struct message messages[MESSAGES_MAX];
    size_t messages_count;
    struct world_counts *counts;
    char complaint[600];
    bool failed;
};

/* The rows of one transaction: copies, written back at its end. */
struct transaction {
    struct book book;
    struct quota_row quotas[ROWS_MAX];
    struct lease_row leases[LEASES_MAX];
};
extern const char *const world_meters[MODEL_METERS];

/* Below bound; true once in n times. */
int64_t world_below(struct world *world, int64_t bound);
bool world_one_in(struct world *world, int64_t n);

/* Ends the run; the first complaint stays. */
void world_fail(struct world *world, const char *what);
void world_expect(struct world *world, bool holds, const char *what);

int64_t world_seq(struct attempt attempt);
struct hold *world_copy_hold(struct world *world, const struct hold *hold);
bool world_is_fenced(const struct settle_facts *facts, struct attempt attempt);

/* NULL: never made. */
struct quota_row *world_row(struct world *world, struct quota_ref ref);
struct stops world_stops(const struct model_limit *limit);
void world_make_rows(struct world *world, const struct quota_ref *refs, size_t count);
int world_lease_compare(const void *a, const void *b);
void world_check_row(struct world *world, const struct quota_row *row);

/* Locks: copies the rows. There is one transaction at a time. */
struct transaction *world_begin(struct world *world, const struct quota_ref *refs, size_t count);

/* Writes back what is dirty, and requires that exactly that has changed. */
void world_end(struct world *world, struct transaction *transaction);

/* Shows the events to the model. */
void world_take_events(struct world *world, const struct book *book, int late_expected);

struct standin_totals world_totals(const struct quota_row *row, int64_t delta);

/* A new message, not yet delivered; job -1 for totals only. */
struct message *world_post(struct world *world, int job);
void world_deliver(struct world *world);

void world_close_leases(struct world *world, struct quota_row *row);
void world_begin_lease(struct world *world, struct quota_row *row);
void world_grant(struct world *world, struct quota_ref ref, int64_t needed, int64_t deadline_ms);
void world_recall(struct world *world, struct quota_row *row);
void world_serve_recalls(struct world *world);

/* Of a hold that is due. */
void world_reap(struct world *world, int job);
void world_reap_due(struct world *world);

/* A job of late, an older one, or a new one. */
int world_any_job(struct world *world);

void world_reserve(struct world *world);
void world_extend(struct world *world);

/* A batch of commits and releases. */
void world_settle(struct world *world);

#endif
