/*
 * What every answer must be, told as naively as possible: lists of what happened, and loops over
 * them. It knows nothing of leases: what Postgres has lent and what the stores still show is asked
 * of the caller. It shares no code with src/quota, only the names of the outcomes.
 *
 * Each function returns false after writing a complaint when the system has broken a promise.
 */
#ifndef HOLDFAST_TESTS_MODEL_MODEL_H
#define HOLDFAST_TESTS_MODEL_MODEL_H

#include "quota/settle.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MODEL_METERS = 3,
    MODEL_LIMITS = 8,
    MODEL_ATTEMPTS_MAX = 4000,
    MODEL_LINES_MAX = 16000,
    MODEL_RECORDS_MAX = 4000,
    MODEL_STOPS_MAX = 2000,
    MODEL_LATE_WINDOW_MS = 180000,
};

/* Of Mondays, and of the calendar's years: what model_limit.period_ms names them by. */
#define MODEL_WEEK_MS INT64_C(604800000)
#define MODEL_YEAR_MS INT64_C(31536000000)

struct model_limit {
    const char *scope;  /* "", "a" or "a/u" */
    int meter;
    int64_t period_ms;  /* 0: never ends */
    int64_t amount, soft, cap;
    int64_t cap_max;    /* the largest cap it ever had */
    bool unlimited;
};

struct model_attempt {
    int job;
    int64_t seq;               /* epoch and number in one, larger is newer */
    int64_t created, deadline; /* deadline: after the last Extend */
    const char *scope;
    int64_t units[MODEL_METERS]; /* -1: not held */
    bool released;
};

/* One ledger entry as counted by one quota. */
struct model_line {
    int limit;
    int64_t period, amount, debt;
};

struct model_record {
    int job;
    bool late;
    int64_t asked[MODEL_METERS], held[MODEL_METERS], amount[MODEL_METERS], debt[MODEL_METERS];
};

/* Which stop of which quota was last said to be crossed upwards. */
struct model_stop {
    int limit;
    int64_t period;
    bool up[3];
    bool closed;
};

struct model {
    int64_t now;
    struct model_limit limits[MODEL_LIMITS];
    struct model_attempt attempts[MODEL_ATTEMPTS_MAX];
    int attempts_count;
    struct model_line lines[MODEL_LINES_MAX];
    int lines_count;
    struct model_record records[MODEL_RECORDS_MAX];
    int records_count;
    struct model_stop stops[MODEL_STOPS_MAX];
    int stops_count;
    char complaint[400];
};

/* An attempt as somebody shows it: with the deadline that is known there. seq 0: nothing. */
struct model_seen {
    int64_t seq, deadline;
};

struct model_commit {
    int job;
    struct model_seen token, live, expired;
    bool given, malformed;
    int64_t actual[MODEL_METERS]; /* -1: not named */
    enum overrun overrun[MODEL_METERS];
    bool recall_done;
    bool asked;        /* Redis has answered */
    bool lost;         /* Redis has lost its data since `expired` was made */
    int64_t looked_up; /* when Redis was asked; 0: never */
    /* Has Postgres still set aside what the attempt holds of this limit, unreaped? */
    bool (*own)(void *world, int limit, int64_t seq);
    /*
     * What Postgres has lent of a quota and cannot close now: what was set aside and is past its deadline
     * is no more, but for what attempt `own` (0: none) holds there.
     */
    int64_t (*lent)(void *world, int limit, int64_t period, int64_t own);
    void *world;
};

struct model_answer {
    enum settle_outcome outcome;
    bool replayed, late;
    int64_t amount[MODEL_METERS], debt[MODEL_METERS];
};

/* A hold was granted. strict: no recall is outstanding, so that debt must be respected too. */
bool model_reserve(struct model *model, const struct model_attempt *attempt, bool strict);

void model_extend(struct model *model, int job, int64_t seq, int64_t deadline);

/* Predicts, and remembers what a new record books. */
struct model_answer model_commit(struct model *model, const struct model_commit *commit);

struct model_answer model_release(struct model *model, const struct model_commit *release);

/* What the newest record counts against a quota: its last line. */
bool model_counted(struct model *model, int limit, int64_t period, int64_t amount, int64_t debt,
                   int64_t ledger_seq);

bool model_event(struct model *model, int limit, int64_t period, int stop, bool up);
void model_closed(struct model *model, int limit, int64_t period);

/* Sums and promises of one quota against its row. */
bool model_quota(struct model *model, int limit, int64_t period, int64_t committed, int64_t debt,
                 int64_t leased, int64_t ledger_seq);

bool model_is_recorded(const struct model *model, int job);
bool model_counts(const struct model_limit *limit, const struct model_attempt *attempt);
int64_t model_period(const struct model_limit *limit, int64_t at);

#endif
