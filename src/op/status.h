/*
 * What this server knows of its stores, and GetStatus. The board is written by the janitor once a
 * second and by each GetStatus; any thread may read it.
 */
#ifndef HOLDFAST_OP_STATUS_H
#define HOLDFAST_OP_STATUS_H

#include "counter/counter.h"
#include "ledger/drifts.h"
#include "ledger/alarms.h"
#include "ledger/ledger.h"
#include "op/op.h"

#include <stdbool.h>
#include <stdint.h>

enum status_store { STATUS_STORE_REDIS, STATUS_STORE_POSTGRES, STATUS_STORES };

enum {
    STATUS_ERROR_BYTES = 160,
    STATUS_IDENTITY_BYTES = 48,
    STATUS_PLACED_MAX = 100000,
    STATUS_READ_ONLY_MAX = 64,
};

struct status_store_state {
    bool known; /* anything was seen yet */
    bool up;
    int64_t since_ms;                     /* wall clock: up has this value since */
    int64_t latency_us;                   /* of the last answer; -1: none yet */
    char error[STATUS_ERROR_BYTES];       /* the last one, kept when the store is back */
    char identity[STATUS_IDENTITY_BYTES]; /* of Postgres: "SYSTEM/TIMELINE"; "" until it answers */
    int64_t failovers;                    /* how often that has changed */
};

struct status_board;

struct status_board *status_board_create(void);
void status_board_destroy(struct status_board *board); /* accepts NULL */

/*
 * A store did or did not answer. error may be NULL. The log gets a line when a store is away the first
 * time it is looked at, and whenever it goes or comes back.
 */
void status_note(struct status_board *board, enum status_store store, bool up, int64_t wall_ms,
                 int64_t latency_us, const char *error);

/*
 * The same for a look at Redis. One that answers but may not be used (a replica, or one that evicts) is
 * not up. True if it is up.
 */
bool status_note_redis(struct status_board *board, const struct counter_observe *look,
                       int64_t wall_ms, int64_t latency_us, const char *error);

/* Which Postgres it is; the log gets a line when it was another one before, and the answer is true. */
bool status_note_root(struct status_board *board, int64_t system, int64_t timeline);

struct op_status {
    struct op op;
    /* out */
    struct status_store_state stores[STATUS_STORES];
    int64_t holds, holds_due;
    int64_t placed; /* holds in Postgres, up to STATUS_PLACED_MAX; -1: it does not answer */
    bool placing;   /* this server takes holds there, because Redis does not answer */
    int64_t clock_offset_ms; /* the database's clock minus this host's */
    struct alarms_state alarms;
    bool seals_known;
    struct ledger_seals seals;
    struct slice *read_only; /* tenants with losses, at most STATUS_READ_ONLY_MAX */
    size_t read_only_count;
    struct ledger_drift_totals drifts; /* count -1: not known */
};

void op_status_start(struct op_status *op);

#endif
