/*
 * What this server has admitted without any store: holds under limits that are OPEN (enum redis_away). Any
 * thread. Two things are kept, both in memory only:
 *
 *   how much      of each quota, since Redis went away. It only rises, whatever becomes of the holds: no more
 *                 than the limit's redis_away_units is admitted so by one server. A Redis that comes and goes
 *                 stays one absence (breaker_episode).
 *   which holds   so that a repeat here gets its own again, until its deadline
 *
 * Both are bounded: past OPEN_QUOTAS_MAX quotas, OPEN_HOLDS_MAX holds or OPEN_BYTES_MAX of them nothing is
 * admitted. What is past its deadline goes as others come.
 */
#ifndef HOLDFAST_OP_OPEN_H
#define HOLDFAST_OP_OPEN_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "quota/hold.h"
#include "quota/plan.h"

#include <stdbool.h>
#include <stdint.h>

enum { OPEN_QUOTAS_MAX = 8192, OPEN_HOLDS_MAX = 65536, OPEN_BYTES_MAX = 64 << 20 };

struct open;
struct services;

struct open *open_create(void);
void open_destroy(struct open *open); /* accepts NULL */

/* An attempt that no store has made: no two are the same, whichever servers make them. */
struct attempt open_attempt(struct services *services, int shard, int64_t now_ms);

/*
 * Counts all quotas of the hold and keeps it, or does nothing: some quota has had its redis_away_units in
 * this episode, or there is no place. The plan has the limits of the hold.
 */
MUST_CHECK bool open_admit(struct open *open, int64_t episode, const struct plan *plan,
                           struct slice job_id, const struct hold *hold, int64_t now_ms);

/* What was admitted for the job, while it is live at now_ms; in the arena. NULL: nothing. */
const struct hold *open_find(struct open *open, struct arena *arena, int64_t tenant_id,
                             struct slice job_id, int64_t now_ms);

/* It has ended: the job's next Reserve is another attempt. What was counted stays counted. */
void open_forget(struct open *open, int64_t tenant_id, struct slice job_id);

#endif
