/*
 * Leases: Postgres is the root, Redis admits inside what it was lent (PROTOCOL.md 3.1, 3.2, 3.4, 3.6, 3.9).
 * Two Redis with asynchronous replication, promotion, an old primary that lives on, resync, promotion
 * again, restart without data, FLUSHALL; two servers with beliefs of different age; holds in Postgres;
 * requests that come twice, answers that are lost. Amounts are 1. A deadline may pass at any moment.
 *
 * Bounds:  NJ jobs, LIM the limit, ME - 1 epochs, MI incarnations
 * Trouble: FLUSH and LOSS of Redis' data, PLACE holds in Postgres, SPLIT a Commit in two steps
 * Rules, each with what it is without it:
 *   INC=2        every script compares the incarnation     1: whoever connects does     0: nobody
 *   NONCE=1      a Redis without the nonce is refused      0: it is filled again under the same epoch
 *   ROOTCHECK=1  what is committed fits into its lease     0: no check at the root
 *   REAPSYNC=1   the reap reads what was spent first       0: it frees by age
 *   FENCE=1      Release writes a fence in Postgres        0: it is in Redis only
 *   PCHECK=1     holds in Postgres count what is lent      0: they count the record only
 *   REAPLOCK=1   the reap takes the lock of Commit         0: it does not (with SPLIT)
 *   RELOCK=1     Release takes it                          0: it does not (with SPLIT)
 *   RETURNS=1    idle capacity goes back by totals         2: it is subtracted on both sides
 *                0: nothing goes back
 * PROMISED=0 asks only whether what is recorded is within the limit, not what is promised.
 */
#ifndef NJ
#define NJ 2
#endif
#ifndef LIM
#define LIM 1
#endif
#ifndef ME
#define ME 2
#endif
#ifndef MI
#define MI 2
#endif
#ifndef FLUSH
#define FLUSH 1
#endif
#ifndef LOSS
#define LOSS 1
#endif
#ifndef PLACE
#define PLACE 0
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef INC
#define INC 2
#endif
#ifndef NONCE
#define NONCE 1
#endif
#ifndef ROOTCHECK
#define ROOTCHECK 1
#endif
#ifndef REAPSYNC
#define REAPSYNC 1
#endif
#ifndef FENCE
#define FENCE 1
#endif
#ifndef PCHECK
#define PCHECK 1
#endif
#ifndef REAPLOCK
#define REAPLOCK 1
#endif
#ifndef RELOCK
#define RELOCK 1
#endif
#ifndef PROMISED
#define PROMISED 1
#endif
#ifndef RETURNS
#define RETURNS 0
#endif

/* What a caller knows of its job. */
#define UNKNOWN 0
#define HELD 1
#define ASKED 2 /* to commit */
#define COMMITTED 3
#define RELEASED 4
#define REFUSED 5

/* Postgres: the authority row; a lease for each epoch; record, fence and hold of each job. */
byte epoch = 1, incarnation = 1, nonce = 1;
byte granted[ME], spent[ME], returned[ME], told_granted[ME];
bit over[ME]; /* the lease's deadline has passed */
bit recorded[NJ], fenced[NJ], placed[NJ];
byte returning[ME]; /* returns on their way from Redis to the root */
byte deciding;      /* the job whose Commit has looked and not yet written, + 1 */

/* Two Redis. */
byte r_epoch[2], r_inc[2], r_nonce[2], r_granted[2], r_spent[2], r_returned[2];
bit primary[2];
bit r_hold[2 * NJ];
byte incarnations = 1;

/* Two servers: beliefs, and at which Redis their connection ends. */
byte s_epoch[2], s_inc[2], s_nonce[2], s_at[2];
bit s_same[2], s_filled[2];

/* Callers. */
byte caller[NJ], token[NJ]; /* token: the epoch of the lease, 0: a hold in Postgres */
bit expired[NJ], asking[NJ];

byte total, k, n, verdict; /* of the running step only */

#define LIVE(j) ((caller[j] == HELD || caller[j] == ASKED) && !expired[j])
#define FREE_TO_LOCK (deciding == 0)

#if INC == 2
#define SAME(s) (r_inc[s_at[s]] == s_inc[s])
#elif INC == 1
#define SAME(s) (s_same[s])
#else
#define SAME(s) (1)
#endif
#if NONCE
#define GUARD(s) (primary[s_at[s]] && r_epoch[s_at[s]] == s_epoch[s] && s_nonce[s] != 0 && \
                  r_nonce[s_at[s]] == s_nonce[s] && SAME(s))
#else
#define GUARD(s) (primary[s_at[s]] && r_epoch[s_at[s]] == s_epoch[s] && SAME(s))
#endif

/* What the root counts against the limit. */
inline count_root(with_leases)
{
    total = 0; k = 0;
    do
    :: k < NJ -> total = total + recorded[k] + placed[k]; k++
    :: else -> break
    od;
    k = 1;
    do
    :: k < ME && with_leases && !over[k] -> total = total + (granted[k] - returned[k] - spent[k]); k++
    :: k < ME && !(with_leases && !over[k]) -> k++
    :: else -> break
    od;
    k = 0
}

inline count_holds(r)
{
    total = 0; k = 0;
    do
    :: k < NJ -> total = total + r_hold[(r) * NJ + k]; k++
    :: else -> break
    od;
    k = 0
}

inline forget_holds(r)
{
    k = 0;
    do
    :: k < NJ -> r_hold[(r) * NJ + k] = 0; k++
    :: else -> break
    od;
    k = 0
}

inline fill(r, of_epoch, of_nonce)
{
    r_epoch[r] = of_epoch; r_nonce[r] = of_nonce; r_granted[r] = 0; r_spent[r] = 0; r_returned[r] = 0;
    forget_holds(r)
}

inline copy(from, to)
{
    r_epoch[to] = r_epoch[from]; r_nonce[to] = r_nonce[from]; r_granted[to] = r_granted[from];
    r_spent[to] = r_spent[from]; r_returned[to] = r_returned[from];
    k = 0;
    do
    :: k < NJ -> r_hold[(to) * NJ + k] = r_hold[(from) * NJ + k]; k++
    :: else -> break
    od;
    k = 0
}

/* The promises (PROTOCOL.md 5). */
inline promises()
{
    total = 0; n = 0; k = 0;
    do
    :: k < NJ ->
        total = total + ((recorded[k] || LIVE(k)) -> 1 : 0);
        n = n + recorded[k];
        assert(!(caller[k] == COMMITTED && !recorded[k]));
        assert(!(caller[k] == RELEASED && recorded[k]));
        k++
    :: else -> break
    od;
    assert(n <= LIM);     /* what is recorded */
    assert(!PROMISED || total <= LIM); /* with what is promised */
    total = 0; n = 0; k = 0
}

inline server(s)
{
    if
    :: s_epoch[s] != epoch || s_inc[s] != incarnation || s_nonce[s] != nonce -> /* the beat */
        if
        :: s_epoch[s] != epoch -> s_filled[s] = 0
        :: else
        fi;
        s_epoch[s] = epoch; s_inc[s] = incarnation; s_nonce[s] = nonce;
        s_same[s] = (r_inc[s_at[s]] == incarnation)
    :: s_at[s] = 1 - s_at[s]; s_same[s] = (r_inc[s_at[s]] == s_inc[s]) /* another connection */
    :: s_epoch[s] == epoch && epoch < ME - 1 && primary[s_at[s]] -> /* a new epoch, by compare and set */
        epoch++; incarnation = r_inc[s_at[s]]; nonce = 0;
        s_epoch[s] = epoch; s_inc[s] = incarnation; s_nonce[s] = 0; s_same[s] = 1; s_filled[s] = 0
#if NONCE
    :: s_nonce[s] == 0 && !s_filled[s] && primary[s_at[s]] && r_epoch[s_at[s]] < s_epoch[s] && SAME(s) ->
        n = s_at[s]; fill(n, s_epoch[s], s + 1); s_filled[s] = 1; n = 0
    :: s_filled[s] && s_epoch[s] == epoch && nonce == 0 -> nonce = s + 1; s_nonce[s] = s + 1
#else
    :: primary[s_at[s]] && r_epoch[s_at[s]] < s_epoch[s] && SAME(s) ->
        n = s_at[s]; fill(n, s_epoch[s], 1); nonce = 1; s_nonce[s] = 1; n = 0
#endif
    :: FREE_TO_LOCK && s_epoch[s] == epoch -> /* a grant */
        count_root(1);
        if
        :: total + 1 <= LIM && granted[s_epoch[s]] < NJ ->
            granted[s_epoch[s]] = granted[s_epoch[s]] + 1; told_granted[s_epoch[s]] = granted[s_epoch[s]]
        :: else
        fi;
        total = 0
    :: GUARD(s) && r_granted[s_at[s]] < told_granted[s_epoch[s]] -> /* it reaches Redis */
        r_granted[s_at[s]] = told_granted[s_epoch[s]]
#if RETURNS == 1
    :: GUARD(s) -> /* Redis first */
        n = s_at[s]; count_holds(n);
        if
        :: r_granted[n] >= r_returned[n] + r_spent[n] + total + 1 ->
            r_returned[n] = r_returned[n] + 1;
            if
            :: returning[s_epoch[s]] < r_returned[n] -> returning[s_epoch[s]] = r_returned[n]
            :: else
            fi
        :: else
        fi;
        total = 0; n = 0
    :: returned[s_epoch[s]] < returning[s_epoch[s]] -> returned[s_epoch[s]] = returning[s_epoch[s]]
#elif RETURNS == 2
    :: GUARD(s) ->
        n = s_at[s]; count_holds(n);
        if
        :: r_granted[n] >= r_spent[n] + total + 1 && returning[s_epoch[s]] < 1 ->
            r_granted[n] = r_granted[n] - 1; returning[s_epoch[s]] = returning[s_epoch[s]] + 1
        :: else
        fi;
        total = 0; n = 0
    :: returning[s_epoch[s]] > 0 && granted[s_epoch[s]] > spent[s_epoch[s]] ->
        returning[s_epoch[s]] = returning[s_epoch[s]] - 1; granted[s_epoch[s]] = granted[s_epoch[s]] - 1
#endif
    fi
}

inline promise(j, of_epoch, is_over)
{
    caller[j] = HELD; token[j] = of_epoch; expired[j] = is_over
}

inline reserve(s, j)
{
    n = s_at[s];
    if
    :: GUARD(s) ->
        count_holds(n);
        if
        :: r_hold[n * NJ + j] -> promise(j, s_epoch[s], over[s_epoch[s]])
        :: !r_hold[n * NJ + j] && r_granted[n] >= r_returned[n] + r_spent[n] + total + 1 ->
            r_hold[n * NJ + j] = 1;
            if
            :: promise(j, s_epoch[s], over[s_epoch[s]])
            :: skip /* the answer is lost */
            fi
        :: else
        fi;
        total = 0
#if PLACE
    :: FREE_TO_LOCK && !recorded[j] && !fenced[j] -> /* whatever this server believes of Redis */
        count_root(PCHECK);
        if
        :: placed[j] -> promise(j, 0, 0)
        :: !placed[j] && total + 1 <= LIM ->
            placed[j] = 1;
            if
            :: promise(j, 0, 0)
            :: skip
            fi
        :: else
        fi;
        total = 0
#endif
    :: else
    fi;
    n = 0
}

#define OWN(j) (!expired[j] && token[j] > 0 && !over[token[j]] && \
                (spent[token[j]] + returned[token[j]] < granted[token[j]] || !ROOTCHECK))

inline record_own(j)
{
    if
    :: spent[token[j]] < granted[token[j]] -> spent[token[j]] = spent[token[j]] + 1
    :: else
    fi;
    recorded[j] = 1
}

/* 1: recorded, 2: refused. The answer may be lost, and the request may come again. */
inline answer_commit(j)
{
    if
    :: caller[j] == ASKED ->
        if
        :: verdict == 1 -> caller[j] = COMMITTED
        :: else -> caller[j] = REFUSED
        fi
    :: skip
    fi;
    if
    :: asking[j] = 0
    :: skip
    fi;
    verdict = 0
}

inline commit(j)
{
    verdict = 0;
    if
    :: recorded[j] -> verdict = 1
    :: !recorded[j] && fenced[j] -> verdict = 2
    :: !recorded[j] && !fenced[j] && token[j] == 0 && placed[j] && !expired[j] ->
        placed[j] = 0; recorded[j] = 1; verdict = 1
    :: !recorded[j] && !fenced[j] && OWN(j) ->
#if SPLIT
        deciding = j + 1
#else
        record_own(j); verdict = 1
#endif
    :: else -> /* late: at the root */
        count_root(1);
        if
        :: total + 1 <= LIM -> recorded[j] = 1; verdict = 1
        :: else -> verdict = 2; assert(!PROMISED || !LIVE(j)) /* a live hold's Commit is not refused */
        fi;
        total = 0
    fi;
    if
    :: deciding == j + 1
    :: else -> answer_commit(j)
    fi
}

inline notify(j, r)
{
    r_hold[(r) * NJ + j] = 0; r_spent[r] = spent[token[j]]
}

inline reap(j, r)
{
    r_hold[(r) * NJ + j] = 0;
    if
    :: REAPSYNC && r_epoch[r] > 0 -> r_spent[r] = spent[r_epoch[r]]
    :: else
    fi
}

/* Nobody relies on the hold in this Redis any more. */
#define DUE(j, r) (expired[j] || \
    !((caller[j] == HELD || caller[j] == ASKED || caller[j] == COMMITTED) && token[j] == r_epoch[r]))

inline job(j)
{
    if
    :: caller[j] == UNKNOWN ->
        if
        :: reserve(0, j)
        :: reserve(1, j)
        fi
    :: (caller[j] == HELD || caller[j] == ASKED || caller[j] == COMMITTED) && !expired[j] -> expired[j] = 1
    :: (caller[j] == HELD || caller[j] == ASKED) && !asking[j] -> asking[j] = 1; caller[j] = ASKED
    :: asking[j] && FREE_TO_LOCK -> commit(j)
    :: deciding == j + 1 -> deciding = 0; record_own(j); verdict = 1; answer_commit(j)
#if FENCE
    :: (!RELOCK || FREE_TO_LOCK) && (caller[j] == HELD || caller[j] == ASKED) && !recorded[j] ->
        fenced[j] = 1; placed[j] = 0; caller[j] = RELEASED
#else
    :: (caller[j] == HELD || caller[j] == ASKED) && token[j] > 0 && r_epoch[0] == token[j] && r_hold[j] &&
            !recorded[j] -> r_hold[j] = 0; caller[j] = RELEASED
    :: (caller[j] == HELD || caller[j] == ASKED) && token[j] > 0 && r_epoch[1] == token[j] && r_hold[NJ + j] &&
            !recorded[j] -> r_hold[NJ + j] = 0; caller[j] = RELEASED
#endif
    :: r_hold[j] && fenced[j] -> r_hold[j] = 0
    :: r_hold[NJ + j] && fenced[j] -> r_hold[NJ + j] = 0
    :: placed[j] && (expired[j] || !((caller[j] == HELD || caller[j] == ASKED) && token[j] == 0)) -> placed[j] = 0
    :: r_hold[j] && recorded[j] && r_epoch[0] == token[j] && token[j] > 0 -> notify(j, 0)
    :: r_hold[NJ + j] && recorded[j] && r_epoch[1] == token[j] && token[j] > 0 -> notify(j, 1)
    :: (!REAPLOCK || FREE_TO_LOCK) && r_hold[j] && DUE(j, 0) -> reap(j, 0)
    :: (!REAPLOCK || FREE_TO_LOCK) && r_hold[NJ + j] && DUE(j, 1) -> reap(j, 1)
    fi
}

/* The deadline of a lease that was set aside: all holds under it are past theirs. */
inline end_lease(e)
{
    over[e] = 1; k = 0;
    do
    :: k < NJ && token[k] == e -> expired[k] = 1; k++
    :: k < NJ && token[k] != e -> k++
    :: else -> break
    od;
    k = 0
}

inline trouble()
{
    if
    :: primary[0] && !primary[1] -> copy(0, 1)
    :: primary[1] && !primary[0] -> copy(1, 0)
    :: primary[0] && !primary[1] && incarnations < MI -> incarnations++; primary[1] = 1; r_inc[1] = incarnations
    :: primary[1] && !primary[0] && incarnations < MI -> incarnations++; primary[0] = 1; r_inc[0] = incarnations
    :: primary[0] && primary[1] -> /* the old one is demoted, or the new one; connections stay */
        if
        :: primary[0] = 0; copy(1, 0)
        :: primary[1] = 0; copy(0, 1)
        fi
#if LOSS
    :: primary[0] && incarnations < MI -> /* it restarts without its data */
        incarnations++; r_inc[0] = incarnations; fill(0, 0, 0);
        if
        :: s_at[0] == 0 -> s_same[0] = 0
        :: else
        fi;
        if
        :: s_at[1] == 0 -> s_same[1] = 0
        :: else
        fi
#endif
#if FLUSH
    :: primary[0] && r_epoch[0] > 0 -> fill(0, 0, 0)
#endif
    :: epoch > 1 && !over[1] -> end_lease(1)
    :: epoch > 2 && !over[2] -> end_lease(2)
#if ME > 4
    :: epoch > 3 && !over[3] -> end_lease(3)
#endif
    fi
}

init {
    atomic {
        primary[0] = 1; r_inc[0] = 1; r_epoch[0] = 1; r_nonce[0] = 1;
        s_inc[0] = 1; s_inc[1] = 1; s_epoch[0] = 1; s_epoch[1] = 1; s_same[0] = 1; s_same[1] = 1;
        s_nonce[0] = 1; s_nonce[1] = 1
    }
    do
    :: atomic { server(0); promises() }
    :: atomic { server(1); promises() }
    :: atomic { job(0); promises() }
    :: atomic { job(1); promises() }
#if NJ > 2
    :: atomic { job(2); promises() }
#endif
    :: atomic { trouble(); promises() }
    od
}
