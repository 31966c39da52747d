/*
 * Place: holds in Postgres, of one job that two servers reserve and that is committed, released or reaped
 * (PROTOCOL.md 3.9), beside a rival. The quotas of the two Reserves share no lock, as in two periods, so
 * statements of one stand between statements of the other; each sees what was committed before it. Amounts
 * and the limit are 1. TAKES Reserves run, ENDERS is what may end a hold.
 *
 * Rules, each with what it is without it:
 *   ROW_FIRST=1  the row of pg_hold is read first, then the record    0: the record first
 *   KEY=1        (tenant, job) is the key of pg_hold                  0: two rows of a job
 *   ONE=1        who ends a hold deletes its row in that transaction  0: in one before
 */
#ifndef TAKES
#define TAKES 1
#endif
#ifndef ENDERS
#define ENDERS 1
#endif
#ifndef ROW_FIRST
#define ROW_FIRST 1
#endif
#ifndef KEY
#define KEY 1
#endif
#ifndef ONE
#define ONE 1
#endif
#define NONE 0
#define COMMIT 1
#define RELEASE 2
#define REAP 3

byte rows = 0; /* of the job in pg_hold */
bit recorded = 0, fenced = 0, expired = 0;
byte held = 0, committed = 0; /* of the quota */
bit rival = 0;
byte step[2];
bit saw_row[2], saw_end[2];
byte ending = NONE;
byte ended = NONE; /* ever */

#define LIM 1

inline promises()
{
    assert(committed + held + rival <= LIM + (TAKES > 1)); /* of two periods: each has its own limit */
    assert(rows <= 1);
    assert(held == rows || ending != NONE);
    assert(recorded + fenced + expired <= 1)
}

inline read_row(s)
{
    saw_row[s] = (rows > 0)
}

inline read_end(s)
{
    saw_end[s] = (recorded || fenced)
}

inline take(s)
{
    if
    :: step[s] == 0 ->
        if
        :: ROW_FIRST -> read_row(s)
        :: else -> read_end(s)
        fi;
        step[s] = 1
    :: step[s] == 1 ->
        if
        :: ROW_FIRST -> read_end(s)
        :: else -> read_row(s)
        fi;
        step[s] = 2
    :: step[s] == 2 ->
        if
        :: saw_row[s] || saw_end[s]
        :: !saw_row[s] && !saw_end[s] && KEY && rows > 0 /* the key: the other's is shown */
        :: !saw_row[s] && !saw_end[s] && !(KEY && rows > 0) && committed + held + rival + 1 > LIM + (TAKES > 1)
        :: else ->
            assert(!recorded && !fenced); /* no hold of a job that has ended */
            rows++; held++
        fi;
        step[s] = 3
    fi
}

init {
#if ENDERS
    rows = 1; held = 1;
#endif
    do
    :: atomic { take(0); promises() }
#if TAKES > 1
    :: atomic { take(1); promises() }
#endif
    :: atomic { !rival && committed + held + 1 <= LIM -> rival = 1; promises() }
#if ENDERS
    :: atomic { rows > 0 && ended == NONE ->
        if
        :: ending = COMMIT
        :: ending = RELEASE
        :: ending = REAP
        fi;
        ended = ending;
        if
        :: ONE
        :: !ONE -> rows--; held--; goto second
        fi;
        rows--; held--;
        recorded = (ending == COMMIT); fenced = (ending == RELEASE); expired = (ending == REAP);
        committed = committed + (ending == COMMIT); ending = NONE; promises();
second: skip }
    :: atomic { ending != NONE ->
        recorded = (ending == COMMIT); fenced = (ending == RELEASE); expired = (ending == REAP);
        committed = committed + (ending == COMMIT); ending = NONE; promises() }
#endif
    :: else -> break
    od
}
