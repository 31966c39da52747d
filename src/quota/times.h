/*
 * How long things last, and what must be longer than what.
 *
 * A time stands here if anything outside its own file relies on it: another time, a statement or a script, a
 * promise to callers. What the protocol needs of two times is asserted at the end. A time of one loop that
 * nothing else relies on (a poll, a back-off) stands in that loop's file, as a constant named with its unit.
 * Nowhere else is a number a time; 1000 and its powers only convert units. tests/tidy/tidy.py ("times")
 * refuses what breaks this. The times of base/, which ranks below, and of stub/, a library of its own, are
 * theirs.
 *
 * A time that a statement or an option's default takes with TEXT_OF is a plain number. Lua names this header
 * beside its copy, and counter/embed.cmake compares the two.
 */
#ifndef HOLDFAST_QUOTA_TIMES_H
#define HOLDFAST_QUOTA_TIMES_H

#include <stdint.h>

#define SECOND_IN_MS INT64_C(1000)
#define MINUTE_IN_MS (60 * SECOND_IN_MS)
#define HOUR_IN_MS (60 * MINUTE_IN_MS)
#define DAY_IN_MS (24 * HOUR_IN_MS)

/* --- promises to callers ------------------------------------------------------------------------------ */

/* The capacity of an expired hold is back, and PERIOD_STARTED is written, within this. */
#define EXPIRY_WITHIN_MS 2000
#define PERIOD_WITHIN_MS 2000

/* After SIGTERM the process is gone within this, whatever is stuck. */
#define DRAIN_WITHIN_MS 10000

/* A Commit is accepted this long after the expiry. */
#define LATE_WINDOW_MS DAY_IN_MS

/* What events are kept for unless the operator says otherwise. */
#define EVENTS_KEEP_HOURS 168

/* --- holds and leases --------------------------------------------------------------------------------- */

/*
 * A caller may ask for a TTL from TTL_ASKED_MIN_MS to TTL_ASKED_MAX_MS, and gets TTL_DEFAULT_MS if it asks
 * for none. A hold in Redis lasts TTL_HELD_MAX_MS at a time.
 */
#define TTL_ASKED_MIN_MS INT64_C(100)
#define TTL_ASKED_MAX_MS DAY_IN_MS
#define TTL_DEFAULT_MS MINUTE_IN_MS
#define TTL_HELD_MAX_MS (15 * MINUTE_IN_MS)

/* No Extend goes past this from the Reserve on. */
#define LIFETIME_MAX_MS DAY_IN_MS

/* A lease ends at least this far ahead of its last push, and at most that far. */
#define LEASE_MIN_MS MINUTE_IN_MS
#define LEASE_MAX_MS (30 * MINUTE_IN_MS)

/*
 * A cached plan is used this long without the root, and believed this long where it refuses: nobody looks a
 * refusal up again (op/plans.h).
 */
#define PLANS_LAST_MS LEASE_MAX_MS
#define PLANS_REFUSE_MS 1000

/*
 * A hold that ends within this when its quotas are chosen may have ended when they are locked, so what a late
 * commit needs is locked too (quota/settle.h).
 */
#define LATE_AHEAD_MS 10000

/* --- what is kept, and how long ----------------------------------------------------------------------- */

/* A FINAL mark spares a caller who repeats a Reserve the ledger (counter/lua/final.lua). */
#define FINAL_MS 600000

/* A fence is kept this long beyond the last moment at which its attempt could commit. */
#define FENCE_KEEP_MS (LIFETIME_MAX_MS + LATE_WINDOW_MS + HOUR_IN_MS)

/* What the reap keeps of an expired hold. */
#define EXPIRED_KEEP_DAYS 7
#define EXPIRED_KEEP_MS (EXPIRED_KEEP_DAYS * DAY_IN_MS)

/* How long Redis knows of a job that it was committed (counter/lua/final.lua). */
#define FINAL_MARK_MS (10 * MINUTE_IN_MS)

/* A period closes this long after its end: no hold of it can be live or committed on time then. */
#define PERIOD_GRACE_MS 87000000

/* Redis keeps a quota this long after its period (counter/lua/ended.lua): it knows what a database lost. */
#define PERIOD_IN_REDIS_MS 60000

/* A closed period is kept for this long after its end, or for so many times its own length. */
#define PERIOD_KEEP_MS 604800000
#define PERIOD_KEEP_TIMES 31

/* --- servers, their beats and their duties ------------------------------------------------------------ */

/* A server says this often that it is there; the second one while it is busy. */
#define LOOK_EVERY_MS 1000
#define LOOK_BUSY_MS 300

/* It is missed this long after its last beat; the second one if it was busy. Then its row goes. */
#define SHARES_LASTS_MS 2100
#define SHARES_BUSY_LASTS_MS 700
#define SERVER_FORGET_MS 60000

/* It stays busy this long after its last hold has ended, and is taken for busy this long after its start. */
#define BUSY_AFTER_MS 5000

/* It reaps its own shards this often; the second one while it is busy. */
#define REAP_EVERY_MS 1000
#define REAP_BUSY_MS 300

/* While it is busy it looks this often at the shards of others, for what they left for so long. */
#define REAP_OTHERS_MS 600
#define REAP_LATE_MS 800

/* Periods that began are looked for this often, and by others than the house's owner if this late. */
#define PERIODS_EVERY_MS 250
#define PERIODS_LATE_MS 500

/*
 * Entries of the ledger are sealed within the first, by a look every so often at what was safe at the one
 * before. A gap in a quota's numbers is looked into again after the third.
 */
#define SEAL_WITHIN_MS 5000
#define SEAL_EVERY_MS 2000
#define SEAL_GAP_AGAIN_MS MINUTE_IN_MS

/* An entry that is older and not sealed proves nothing to a repair (quota/repair.h): nobody seals. */
#define SEAL_STUCK_MS MINUTE_IN_MS

/* A look for one gap may take this long: the janitor has other duties. */
#define SEAL_GAP_MS 1000

/* Crossings of what is reserved that nobody brought to the database are looked for this often. */
#define CRIER_ROUND_MS 3000

/* A look at some shards for keys that were lost singly; all of them are seen within the second one. */
#define MEND_EVERY_MS 5000
#define MEND_ROUND_MS MINUTE_IN_MS

/*
 * What nobody uses comes back within this. A round over all that is lent begins this often, with a page of it
 * each IDLE_EVERY_MS, and what has not moved for so long is idle.
 */
#define IDLE_WITHIN_MS 10000
#define IDLE_EVERY_MS 1000
#define IDLE_ROUND_MS 2000
#define IDLE_STILL_MS 5000

/*
 * Accounts of quotas are held against each other by a look every so often; a round over all quotas begins
 * every RECONCILE_ROUND_MS. A tenant is told of a large drift that has lasted.
 */
#define RECONCILE_EVERY_MS 1000
#define RECONCILE_ROUND_MS 30000
#define RECONCILE_TELL_MS 10000

/*
 * Who watches a tenant is told that it is served from Postgres, and that it no longer is once Redis has
 * answered for a while. A server that has told says it again after this long, in case others took it for
 * gone.
 */
#define DEGRADED_EVERY_MS 250
#define DEGRADED_CALM_MS 2000
#define DEGRADED_TOLD_MS 5000
/* What a server has told is over if it has been missed for so long. */
#define DEGRADED_GONE_MS 5000
/* Who has holds in Postgres is believed for this long (op/dirty.h). */
#define DIRTY_LASTS_MS 3000

/* --- who may serve a shard ---------------------------------------------------------------------------- */

/* A row that somebody is making ready is left alone for this long; then the next one may bump it. */
#define AUTHORITY_MAKING_MS 1000

/* A caller waits this long for the recovery of a shard. */
#define RECOVERY_MAX_MS 1500

/*
 * A server takes a shard back to the Redis where it was before after the first of these, then after twice as
 * long each time up to the second; after the third it begins with the first again.
 */
#define WAY_BACK_FIRST_MS 1000
#define WAY_BACK_MAX_MS 60000
#define WAY_BACK_KEEP_MS 120000

/* --- waiting for a store ------------------------------------------------------------------------------ */

/* For a locked row, where others wait too, and where only tenants that are stuck do. */
#define LOCK_WAIT_MS 30
#define LOCK_WAIT_STUCK_MS 60

/*
 * For a connection: by a thread that serves one request at a time, by one that many wait for, and at the very
 * first try, so that a Postgres that is away is in the log within a second.
 */
#define CONNECT_MS 2000
#define CONNECT_SHARED_MS 1000
#define CONNECT_FIRST_MS 800

/* How long the database lets a statement run; the first one where all of a tenant is read and sorted. */
#define STATEMENT_VERIFY_MS 600000
#define STATEMENT_MS 2000
#define STATEMENT_COMMITTER_MS 4000
#define STATEMENT_LONG_MS 5000
#define STATEMENT_MIGRATION_MS 50000

/* How long it lets a transaction lie idle: then the locks of a server that is gone are free. */
#define TRANSACTION_IDLE_MS 2000

/* What is waited beyond a statement's own time: by then it is the network, or a machine that is gone. */
#define ANSWER_GRACE_MS 2000
#define ANSWER_GRACE_BLOCKING_MS 5000

/*
 * A Postgres that hangs is noticed within the first. Whoever has waited the second for an answer doubts, and
 * what is asked then is to be answered within the third (ledger/pulse.h).
 */
#define HANG_WITHIN_MS 2000
#define PULSE_DOUBT_MS 300
#define PULSE_ANSWER_MS 1000

/*
 * Silence after which Redis is away (counter/counter.h); for a worker, unless the operator says otherwise,
 * and for a granter, who takes the worker's place then. Both together are less than what a caller waits for.
 */
#define REDIS_MS 500
#define REDIS_WORKER_MS 120
/* Silence of one connection while Redis answers others: it leads nowhere. */
#define REDIS_LONE_MS 500
#define REDIS_AWAY_WITHIN_MS 300

/*
 * A Redis that does not answer is asked again after the first of these, then after twice as long each time up
 * to the second, by one thread of each server; looked at this often whether that is so.
 */
#define REDIS_BACK_FIRST_MS 50
#define REDIS_BACK_MAX_MS 1000
#define REDIS_PROBE_EVERY_MS 100

/*
 * Who needs what only Redis could tell waits so long for it to come back, if it has just gone: on a machine
 * with much to do it may only have been late.
 */
#define REDIS_BACK_SOON_MS 400

/* Postgres has been away this long: callers are told so instead of waiting for their deadline. */
#define AWAY_MS 500

/* Nothing is decided for a tenant whose rows contradict each other, until they are looked at again. */
#define ALARMS_ASIDE_MS 10000

/* --- calls and the end of the process ----------------------------------------------------------------- */

/* What a call without a deadline may take. */
#define CALL_MS 15000

/* Calls finish by themselves this long; then no store is waited for. */
#define DRAIN_MS 5000
/* What is left is answered as unavailable; then calls are cancelled. */
#define DRAIN_ANSWERS_MS 1500
/* Threads without calls may finish what they are at. */
#define DRAIN_LEAVE_MS 1000
/* The last belt: the process ends, whatever holds a thread. */
#define DRAIN_END_MS 9500

/* --- what must hold between them ---------------------------------------------------------------------- */

_Static_assert(TTL_ASKED_MIN_MS <= TTL_DEFAULT_MS && TTL_DEFAULT_MS <= TTL_HELD_MAX_MS,
               "the default could be asked for, and is held as it is");
_Static_assert(TTL_HELD_MAX_MS <= TTL_ASKED_MAX_MS, "what is held is what was asked, or less");
_Static_assert(TTL_HELD_MAX_MS <= LIFETIME_MAX_MS, "one TTL is no longer than a life");
_Static_assert(2 * TTL_HELD_MAX_MS <= LEASE_MAX_MS &&
                   TTL_HELD_MAX_MS + LEASE_MIN_MS <= LEASE_MAX_MS,
               "a lease outlives the holds under it, both as a grant and as an Extend push it");
_Static_assert(PLANS_LAST_MS <= LEASE_MAX_MS,
               "no plan admits longer than a lease lasts without the root");
_Static_assert(PLANS_LAST_MS < DAY_IN_MS / 2,
               "a plan ends before the boundaries of its calendars, a period ahead, do");
_Static_assert(PLANS_REFUSE_MS <= LOOK_EVERY_MS,
               "no plan refuses longer than a beat may miss its change");

_Static_assert(
    STATEMENT_COMMITTER_MS + TRANSACTION_IDLE_MS <= LATE_AHEAD_MS,
    "a hold that ends while its rows are being locked has the rows of a late commit locked");
_Static_assert(PERIOD_GRACE_MS == LIFETIME_MAX_MS + 10 * MINUTE_IN_MS,
               "a plain number for statements");
_Static_assert(PERIOD_GRACE_MS > LIFETIME_MAX_MS, "a period waits for its holds");
_Static_assert(PERIOD_KEEP_MS == 7 * DAY_IN_MS, "a plain number for statements");
_Static_assert(PERIOD_KEEP_MS > PERIOD_GRACE_MS, "a period is closed before it goes");
_Static_assert(FENCE_KEEP_MS > LIFETIME_MAX_MS + LATE_WINDOW_MS,
               "a fence is there as long as a Commit of its attempt is accepted");
_Static_assert(EXPIRED_KEEP_MS > LATE_WINDOW_MS, "a late Commit by job_id finds the hold");
_Static_assert(7 * DAY_IN_MS == EVENTS_KEEP_HOURS * HOUR_IN_MS, "README.md promises a week");
_Static_assert(FINAL_MS > CALL_MS, "a caller who repeats because no answer came finds the mark");

_Static_assert(SHARES_LASTS_MS > 2 * LOOK_EVERY_MS && SHARES_BUSY_LASTS_MS > 2 * LOOK_BUSY_MS,
               "a server is not missed for one beat that came late");
_Static_assert(SHARES_BUSY_LASTS_MS <= SHARES_LASTS_MS, "a busy server is missed sooner");
_Static_assert(SERVER_FORGET_MS > DEGRADED_GONE_MS,
               "a server that is only missed is known, so what it has told stands");
_Static_assert(SERVER_FORGET_MS > SHARES_LASTS_MS, "a server is missed before it is forgotten");
_Static_assert(REAP_EVERY_MS < EXPIRY_WITHIN_MS, "whoever has the shard reaps in time");
_Static_assert(REAP_LATE_MS > 2 * REAP_BUSY_MS, "a busy owner has had its turn before others look");
_Static_assert(REAP_LATE_MS + REAP_OTHERS_MS + REAP_BUSY_MS < EXPIRY_WITHIN_MS,
               "others reap in time what an owner that died has left");
_Static_assert(BUSY_AFTER_MS > EXPIRY_WITHIN_MS,
               "a server stays busy until its last holds are reaped");
_Static_assert(LOOK_EVERY_MS + PERIODS_LATE_MS + PERIODS_EVERY_MS < PERIOD_WITHIN_MS,
               "others begin a period in time if its owner has died");

_Static_assert(2 * SEAL_EVERY_MS < SEAL_WITHIN_MS, "what one look finds safe, the next one seals");
_Static_assert(2 * IDLE_ROUND_MS + IDLE_STILL_MS + LOOK_EVERY_MS <= IDLE_WITHIN_MS,
               "what is idle is seen to be, a round later it is known, and the next one takes it");
_Static_assert(IDLE_STILL_MS > 2 * IDLE_ROUND_MS, "what is idle was looked at more than once");

_Static_assert(RECOVERY_MAX_MS > AUTHORITY_MAKING_MS,
               "who waits for another's recovery can begin its own");
_Static_assert(WAY_BACK_FIRST_MS < WAY_BACK_MAX_MS && WAY_BACK_MAX_MS < WAY_BACK_KEEP_MS,
               "a pause is not forgotten while it lasts");

_Static_assert(
    2 * REDIS_WORKER_MS < REDIS_AWAY_WITHIN_MS,
    "the worker and then the granter have waited in vain, and there is time for Postgres");
_Static_assert(REDIS_WORKER_MS < REDIS_LONE_MS, "a busy Redis is not away");
_Static_assert(REDIS_BACK_FIRST_MS <= REDIS_BACK_MAX_MS, "pauses grow");
_Static_assert(DIRTY_LASTS_MS > 2 * LOOK_EVERY_MS, "a belief outlives a beat that came late");

_Static_assert(LOCK_WAIT_MS < STATEMENT_MS && LOCK_WAIT_STUCK_MS < STATEMENT_COMMITTER_MS,
               "a locked row is told from a slow database");
_Static_assert(PULSE_DOUBT_MS + PULSE_ANSWER_MS < HANG_WITHIN_MS,
               "who waits doubts, asks and knows in time");
_Static_assert(PULSE_DOUBT_MS > 4 * LOCK_WAIT_STUCK_MS, "a locked row is no reason to doubt");
_Static_assert(PULSE_DOUBT_MS + PULSE_ANSWER_MS < STATEMENT_MS,
               "a hang is noticed before a statement could have run out of time");
_Static_assert(CONNECT_FIRST_MS < SECOND_IN_MS,
               "a Postgres that is away is in the log within a second");
_Static_assert(RECOVERY_MAX_MS < CALL_MS && STATEMENT_COMMITTER_MS + ANSWER_GRACE_MS < CALL_MS,
               "a call without a deadline hears what came of it");

_Static_assert(DRAIN_MS + DRAIN_ANSWERS_MS + DRAIN_LEAVE_MS < DRAIN_END_MS,
               "threads may leave by themselves before the process is ended");
_Static_assert(DRAIN_END_MS < DRAIN_WITHIN_MS, "the belt holds before the promise ends");
_Static_assert(STATEMENT_COMMITTER_MS < DRAIN_MS, "what was sent when the drain began is heard");

#endif
