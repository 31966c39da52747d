/*
 * One call of a pretended client: what it asks, and what it was told. The op lives as long as the
 * server needs it; the reply is the client's.
 */
#ifndef HOLDFAST_TESTS_SIM_CALLS_H
#define HOLDFAST_TESTS_SIM_CALLS_H

#include "op/admin.h"
#include "op/op.h"
#include "op/queries.h"
#include "tests/sim/server.h"

#include <stdbool.h>
#include <stdint.h>

enum { SIM_METERS = 2, SIM_HOLD_QUOTAS = 8, SIM_USAGES = 16, SIM_TEXT = 96 };

extern const char *const sim_meters[SIM_METERS];

enum verb {
    VERB_RESERVE,
    VERB_COMMIT,
    VERB_RELEASE,
    VERB_EXTEND,
    VERB_GET,
    VERB_USAGE,
    VERB_PUT_LIMIT,
    VERB_DELETE_LIMIT,
    VERB_TENANT,
    VERB_CHARGE,
    VERB_ADJUST,
    VERBS
};

extern const char *const verb_names[VERBS];

/* A hold as a client remembers it. */
struct sim_hold {
    struct attempt attempt;
    int64_t created_ms, deadline_ms;
    int64_t units[SIM_METERS]; /* -1: not held */
    size_t quotas_count;
    struct hold_quota quotas[SIM_HOLD_QUOTAS];
};

struct ask {
    enum verb verb;
    const char *tenant;
    const char *job;                /* also a limit's name, and a request_id */
    const struct sim_hold *token;   /* or NULL: by job */
    int64_t units[SIM_METERS];      /* -1: not asked for; Commit: the whole hold; ADJUST: 0 */
    enum overrun overrun;
    int64_t ttl_ms;
    bool deferrable, brief;
    bool suspended;                 /* TENANT */
    int64_t amount, overage_percent; /* PUT_LIMIT */
    enum redis_away redis_away;
    int64_t redis_away_units;
    enum period period;
    const char *meter;
    const char *request_id;
    int64_t give_up_us;
};

struct reply {
    bool answered; /* false: the deadline passed, or the server is gone */
    enum failure failure;
    bool unknown;  /* whether it took effect */
    char text[SIM_TEXT];
    int64_t now_ms;
    enum decision decision;
    enum reason_code reason;
    bool replayed, late;
    bool degraded;            /* Reserve, Extend */
    bool uncounted;           /* Reserve */
    int group;                /* of the server that was asked */
    bool has_hold;
    struct sim_hold hold;     /* also of GET */
    bool has_record;
    struct attempt recorded;
    int64_t amount[SIM_METERS], debt[SIM_METERS];
    int64_t left[SIM_METERS]; /* Adjust */
    enum reservation_state state;
    size_t usages_count;
    struct sim_usage {
        int64_t limit_id, period_start_ms, committed, debt, held, cap;
        bool upper_bound;
    } usages[SIM_USAGES];
};

/* Waits for the answer, at most until ask->give_up_us and a little. */
void sim_call(struct server *server, const struct ask *ask, struct reply *reply);

/* Ops that a server has and has not released, over all servers. */
int64_t calls_open(void);

#endif
