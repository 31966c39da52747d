/*
 * A hold: capacity promised to one attempt of a job, and what it is written as.
 *
 * The text is what Redis keeps per job, what the reap writes to expired_hold, and what a reservation
 * id carries signed. Numbers are decimal; nothing in it needs escaping, because names are limited
 * to [a-z0-9._-]:
 *
 *     epoch:seq:deadline_ms:created_ms|scope|mode|meter=units,...
 *         |meter:limit:period:lease:units;...
 *
 * where the last list has one entry per quota: meter is an index into the list before it, period the
 * start of the period in ms. Where the hold was admitted with a warning, that is kept with the quota,
 * so that a repeat gets the same decision and reasons whatever has become of the limit:
 *
 *     meter:limit:period:lease:units:projected:soft:amount:cap:name:scope
 *
 * scope is how many bytes of the hold's scope are the limit's. An earlier version wrote projected alone
 * for every quota; that is read and means nothing.
 * Pure; any thread. Everything parsed points into the arena given.
 */
#ifndef HOLDFAST_QUOTA_HOLD_H
#define HOLDFAST_QUOTA_HOLD_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HOLD_METERS_MAX = 32,
    HOLD_QUOTAS_MAX = 128,
    HOLD_TEXT_MAX = 32768, /* every hold within these bounds fits */
    NAME_BYTES_MAX = 64,   /* tenant, meter, limit, one scope segment: [a-z0-9._-] */
    SCOPE_BYTES_MAX = 259, /* four segments */
    JOB_ID_BYTES_MAX = 255,
};

/* One quota of a tenant: a limit in one period. period_start_ms is 0 for period NEVER. */
struct quota_ref {
    int64_t limit_id;
    int64_t period_start_ms;
};

/* Which attempt of a job; printed as "epoch.seq". */
struct attempt {
    int64_t epoch;
    int64_t seq;
};

/*
 * A hold in Postgres is a row of pg_hold. No lease has its units (lease_id is 0): they are in pg_held of its
 * quotas. Its attempt is of the shard's epoch at that time, with a seq that begins here: Redis, which counts
 * from 1, never comes so far. A later one of the same job has the larger seq, which is this and about the
 * millisecond in which it was made.
 */
#define HOLD_SEQ_POSTGRES (INT64_C(1) << 52)

/*
 * A hold that no store counts (op/open.h) is in its token only. Its seq begins here, is below 2^53, and has
 * the millisecond in which it was made and chance, so that no two servers make the same.
 */
#define HOLD_SEQ_OPEN (HOLD_SEQ_POSTGRES + HOLD_SEQ_POSTGRES / 2)
#define HOLD_SEQ_OPEN_CHANCES 512

static inline bool attempt_is_open(struct attempt attempt)
{
    return attempt.seq >= HOLD_SEQ_OPEN;
}

static inline bool attempt_is_in_postgres(struct attempt attempt)
{
    return attempt.seq >= HOLD_SEQ_POSTGRES && attempt.seq < HOLD_SEQ_OPEN;
}

static inline bool attempt_is_in_redis(struct attempt attempt)
{
    return attempt.seq < HOLD_SEQ_POSTGRES;
}

static inline bool attempts_share_place(struct attempt a, struct attempt b)
{
    return attempt_is_in_postgres(a) == attempt_is_in_postgres(b) &&
           attempt_is_in_redis(a) == attempt_is_in_redis(b);
}

/* now_ms: below 2^42. random: any number. */
static inline int64_t attempt_open_seq(int64_t now_ms, uint64_t random)
{
    return HOLD_SEQ_OPEN + now_ms * HOLD_SEQ_OPEN_CHANCES +
           (int64_t)(random % HOLD_SEQ_OPEN_CHANCES);
}

/* By epoch, then seq: the order of two attempts of one place, Redis or Postgres. */
int attempt_compare(struct attempt a, struct attempt b);

struct hold_meter {
    struct slice meter;
    int64_t units;
};

struct hold_quota {
    uint32_t meter; /* index into hold.meters */
    struct quota_ref quota;
    int64_t lease_id; /* 0: in Postgres, or not written yet */
    int64_t units;
};

/* Why one quota of a hold was admitted with a WARN, as it stood then. */
struct hold_warning {
    struct slice limit_name; /* empty: no warning, and nothing else counts */
    size_t scope_len;        /* the limit's scope is the first so many bytes of the hold's */
    int64_t projected;       /* use + held with this hold, at least soft */
    int64_t soft, amount, cap;
};

/* The most that hold_warning_write writes; no NUL. */
enum { HOLD_WARNING_MAX = 4 * 20 + NAME_BYTES_MAX + 5 };

struct hold {
    struct attempt attempt;
    int64_t deadline_ms;
    int64_t created_ms;
    struct slice scope;
    int mode; /* holdfast.v1.ReserveMode */
    size_t meters_count;
    struct hold_meter *meters;
    size_t quotas_count;
    struct hold_quota *quotas;
    struct hold_warning *warnings; /* one per quota; NULL: no quota warned */
};

/*
 * Within the bounds above: at least one meter and none twice, each limit at most once, amounts that are
 * amounts. Whoever decides by a hold asks this first; it costs the square of its quotas.
 */
MUST_CHECK bool hold_is_sound(const struct hold *hold);

/* False: not the text of a hold that is sound, or out of memory of the arena. */
MUST_CHECK bool hold_parse(struct arena *arena, struct slice text, struct hold **ret_hold);

/* Without an arena's limit: false says that the text is at fault, not the memory. */
bool hold_is_readable(struct slice text);

/* The text, NUL-terminated; NULL past the arena's limit. */
MUST_CHECK char *hold_text(struct arena *arena, const struct hold *hold);

/* Only "scope|mode|meter=units,..." : identity, compared byte by byte for a replay. */
MUST_CHECK char *hold_identity(struct arena *arena, struct slice scope, int mode,
                               const struct hold_meter *meters, size_t meters_count);

/* ":soft:amount:cap:name:scope", what follows `projected` in the text. Returns its length. */
size_t hold_warning_write(const struct hold_warning *warning, char out[HOLD_WARNING_MAX]);

bool quota_ref_equal(struct quota_ref a, struct quota_ref b);

/* By limit, then period: the order in which rows are locked. */
int quota_ref_compare(struct quota_ref a, struct quota_ref b);

#endif
