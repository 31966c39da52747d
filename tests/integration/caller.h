/*
 * Calls of the quota and admin services as an integration test makes them: one function per call,
 * blocking, its answer flat. Functions on answers never fail the test, because most callers are
 * threads, where Criterion cannot: they fill the answer in, and the test's own thread judges it.
 * The others (plan, books) belong to the test's thread and end the test if they cannot do theirs.
 */
#ifndef HOLDFAST_TESTS_INTEGRATION_CALLER_H
#define HOLDFAST_TESTS_INTEGRATION_CALLER_H

#include "base/check.h"
#include "stub/client.h"

#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.stub.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALLOW HOLDFAST__V1__DECISION__DECISION_ALLOW
#define WARN HOLDFAST__V1__DECISION__DECISION_WARN
#define REJECT HOLDFAST__V1__DECISION__DECISION_REJECT
#define ALREADY_COMMITTED HOLDFAST__V1__DECISION__DECISION_ALREADY_COMMITTED
#define HELD HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD
#define COMMITTED HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED
#define RELEASED HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_RELEASED
#define EXPIRED HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_EXPIRED

/* What any call was answered; what does not apply is 0 or "". */
struct answer {
    int code;            /* enum stub_code */
    char reason[40];     /* of the ErrorInfo */
    char field[48];      /* the first of the BadRequest */
    char text[200];      /* the status' message */
    bool effect_stated;  /* an ErrorInfo said which */
    bool effect_unknown;
    int decision;        /* Reserve */
    char reasons[400];   /* Reserve: code, limit, scope, meter and message of each */
    int state;
    bool replayed, late;
    int64_t committed, debt; /* sum over meters */
    int64_t expire_ms;       /* Extend */
    bool degraded;           /* Reserve, Extend */
    char id[1024];           /* reservation_id */
    char attempt[48];
};

enum { ASK_METERS_MAX = 4 };

/* One job of a tenant, and what it asks for. */
struct ask {
    const char *tenant;
    const char *scope; /* NULL: the tenant itself */
    const char *job;   /* NULL in Commit, Release, Extend: by id alone */
    const char *id;    /* NULL: by job alone */
    size_t meters_count;
    const char *meters[ASK_METERS_MAX];
    int64_t units[ASK_METERS_MAX]; /* Commit without meters takes the whole hold */
    int64_t ttl_ms;                /* 0: the server's default */
    int64_t timeout_ms;            /* 0: 10 s */
};

void call_reserve(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
void call_commit(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
void call_release(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
void call_extend(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
void call_get(struct stub_channel *channel, const struct ask *ask, struct answer *ret);

/* Decision ALLOW or WARN. */
bool admitted(const struct answer *answer);

/* An answer that says nothing for good: the same call with the same job may be repeated. */
bool passing(const struct answer *answer);

/* ---- plans ---- */

/* Creates the tenant. */
void plan_tenant(struct stub_channel *channel, const char *tenant);

/* Makes or changes a limit, period as in holdfast.v1.Period; units -1: unlimited. */
void plan_limit(struct stub_channel *channel, const char *tenant, const char *limit,
                const char *scope, const char *meter, int period, int64_t units);

/* The same on any thread: the gRPC code. */
int put_limit(struct stub_channel *channel, const char *tenant, const char *limit,
              const char *scope, const char *meter, int period, int64_t units);

/* ---- books ---- */

int64_t tenant_number(const char *tenant);

/* Units held under the tenant's leases in Redis, over all its quotas. */
int64_t books_held(const char *tenant);

/* Entries of holds that Redis has. */
int64_t books_holds(const char *tenant);

/* Rows and units of the tenant's ledger. */
int64_t books_rows(const char *tenant);
int64_t books_units(const char *tenant);

/*
 * The equations that hold at every moment: ledger = committed + debt in each quota, leased = what is
 * out under its leases, one entry per job, and nothing lent past a cap. Ends the test otherwise.
 */
void books_balance(const char *tenant);

/* books_held falls to 0 in this time. */
bool books_free_within(const char *tenant, int64_t ms);

/* Every entry of the tenant's ledger, by job. */
void books_read(const char *tenant,
                void (*entry)(void *user, const char *job, int64_t units), void *user);

/* ---- the size of a test ---- */

/* `brief` as CI runs it, `full` if HOLDFAST_TEST_ROUNDS=full, or the number that it holds. */
int rounds(int brief, int full);

/* Runs run(user, 0 .. threads-1), each on a thread of its own; returns when all have. */
void crowd(int threads, void (*run)(void *user, int index), void *user);

#endif
