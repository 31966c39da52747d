/*
 * Which shards this server looks after: every duty that one server is enough for is done by one.
 *
 * Servers say once a second that they are there (ledger_beat_run). Each computes from the list of
 * those the one owner of every shard, by the highest of a hash of (server, shard), so that they agree
 * without talking, and when one comes or goes only its own shards move. A server that dies is missed
 * SHARES_LASTS_MS after its last beat, or SHARES_BUSY_LASTS_MS if it had holds, and the others look
 * at that moment; one that stops says so.
 *
 * A share is no lock: while servers see different lists a shard has two owners or none for a moment.
 * Whatever is done under it may be done twice, and that must do no harm.
 *
 * Set by the janitor, read by any thread.
 */
#ifndef HOLDFAST_OP_SHARES_H
#define HOLDFAST_OP_SHARES_H

#include "base/slice.h"
#include "quota/plan.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    SHARES_HOUSE = SHARDS, /* beside the shards: what is done once for the whole database */
    SHARES_COUNT,
};

struct shares;

struct shares *shares_create(void);
void shares_destroy(struct shares *shares); /* accepts NULL */

/* own: this server; others: the others that are there. */
void shares_set(struct shares *shares, struct slice own, const struct slice *others, size_t count);

/* share: a shard, or SHARES_HOUSE. False for all before the first shares_set. */
bool shares_own(struct shares *shares, int share);

#endif
