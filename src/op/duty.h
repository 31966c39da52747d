/*
 * A duty of the janitor: work that nobody waits for. The table in janitor.c lists them all.
 *
 * Each duty has its own period and its own memory, and shares the janitor's thread and connections
 * with the others, so a turn must be short: at most a few statements or scripts, a bounded number of
 * rows, no tenant that can hold it up. What is left over is for the next turn (DUTY_MORE). A duty
 * that fails waits for its next period; the others go on.
 *
 * Every server has a janitor. A duty that one server is enough for looks after the shards of its own
 * server (op/shares.h), or asks shares_own(SHARES_HOUSE); doing it twice must do no harm.
 */
#ifndef HOLDFAST_OP_DUTY_H
#define HOLDFAST_OP_DUTY_H

#include "base/check.h"
#include "base/log.h"
#include "op/stores.h"

#include <stdint.h>

enum duty_end {
    DUTY_DONE,   /* again after the period */
    DUTY_MORE,   /* again as soon as the other duties that are due have had their turn */
    DUTY_SOONER, /* again after tools->again_ms, which is less than the period */
    DUTY_FAILED, /* said so with duty_failed; again after the period */
};

/*
 * What the last beat found to be due (duty_look.c), for duties that ask the database only then. A duty
 * that has done all of it says so here.
 */
struct duty_news {
    bool leases_due, closings_due, rows_due, lent, degraded;
    bool uncompared;          /* see struct ledger_beat: */
    int64_t system, timeline; /* this history */
    int64_t begun_ms;         /* see struct ledger_beat */
};

/* What a turn may use. The scratch memory of the stores is emptied before each turn. */
struct duty_tools {
    struct stores *stores; /* the janitor's */
    struct log_limit *log; /* the duty's own */
    struct duty_news *news;
    int64_t again_ms; /* of DUTY_SOONER */
};

struct duty {
    const char *name;
    int every_ms;
    void *(*create)(void);      /* the duty's memory; NULL: it has none */
    void (*destroy)(void *own); /* NULL where create is */
    enum duty_end (*turn)(void *own, struct duty_tools *tools);
    /* Once, before the janitor ends; may be NULL. */
    void (*leave)(void *own, struct duty_tools *tools);
};

/* Logs a statement that failed, at most a few times a minute for each duty; returns DUTY_FAILED. */
enum duty_end duty_failed(struct duty_tools *tools, const char *what, enum status status);

extern const struct duty duty_look;     /* duty_look.c: the beat: stores, servers, beliefs */
extern const struct duty duty_probe;    /* duty_probe.c: a Redis that nobody asks */
extern const struct duty duty_losses;   /* duty_losses.c: what a database that went back has lost */
extern const struct duty duty_reap;     /* duty_reap.c: holds past their deadline */
extern const struct duty duty_mend;     /* duty_mend.c: keys of Redis that were lost singly */
extern const struct duty duty_idle;     /* duty_idle.c: capacity that nobody uses */
extern const struct duty duty_degraded; /* duty_degraded.c: who is served from Postgres */
extern const struct duty duty_periods;  /* duty_close.c: periods that began */
extern const struct duty duty_close;    /* duty_close.c: leases and periods that are over */
extern const struct duty duty_retention; /* duty_close.c: rows past their time */
extern const struct duty duty_seal;      /* duty_seal.c: the ledger into the chains of its quotas */
extern const struct duty duty_reconcile; /* duty_reconcile.c: accounts that differ */

/*
 * Part of duty_look: recall flags that nobody served, in the shards of this server (duty_recall.c).
 */
enum duty_end recall_flagged(struct duty_tools *tools);

#endif
