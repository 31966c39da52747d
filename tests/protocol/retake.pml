/*
 * Retake: an Extend whose hold Redis has lost plants it again (PROTOCOL.md 3.3), while the job is released
 * or committed. One job with one unit, the limit is LIM, a rival takes whatever room there is. Lease 1 is
 * what Redis lost: set aside, counted until its deadline. Time is 1, 2 or 3; the hold lasts until 1 and is
 * to last until 2.
 *
 * Rules, each with what it is without it:
 *   ASK_AFTER=1  record and fences are read after Redis was written    0: before
 *   SAME=1       it is the same attempt that stands again              0: another one
 *   ROOM=1       it stands only in what the root has lent for it       0: under a lease without room
 *   KEEP=1       without room the root keeps the old lease, or no OK   0: OK all the same
 */
#ifndef LIM
#define LIM 2
#endif
#ifndef ASK_AFTER
#define ASK_AFTER 1
#endif
#ifndef SAME
#define SAME 1
#endif
#ifndef ROOM
#define ROOM 1
#endif
#ifndef KEEP
#define KEEP 1
#endif

byte now = 1, until = 1;   /* until: what the caller was told */
byte old_D = 1;            /* lease 1: deadline; it lent one unit */
byte lent = 0, r_room = 0; /* lease 2, which lasts: at the root, and what Redis has of it beside holds */
bit old_spent = 0, new_spent = 0;
byte hold = 0;             /* in Redis, under lease 2: the attempt */
byte token = 1, attempt = 1; /* the lease and the attempt of the newest token */
bit recorded = 0, fenced = 0, acked = 0, told = 1; /* acked: a Release; told: Redis has heard of the end */
bit seen = 0;  /* the end that an Extend saw when it asked */
byte step = 0; /* of the Extend: 0 none, 1 asked first, 2 written, 3 kept */
bit second = 0; /* the attempt that stands is another one */
byte rival = 0; /* its units, for ever */

#define OLD_COUNTS ((now <= old_D && !old_spent) -> 1 : 0)
#define COUNTED (recorded + rival + OLD_COUNTS + (lent - new_spent))
#define LIVE (!recorded && !acked && now <= until)
#define ENDED (recorded || fenced)

inline promises()
{
    assert(recorded + rival + (LIVE -> 1 : 0) <= LIM);
    assert(!(acked && recorded));
    assert(!(ENDED && told && step == 0 && hold > 0 && now <= until)) /* what has ended does not stand */
}

inline write()
{
    if
    :: COUNTED + 1 <= LIM -> lent++; hold = 1; second = !SAME; step = 2
    :: COUNTED + 1 > LIM && !ROOM -> hold = 1; step = 2
    :: COUNTED + 1 > LIM && ROOM && (now <= old_D || !KEEP) ->
        old_D = ((KEEP && old_D < 2) -> 2 : old_D); step = 3
    :: else -> step = 0; seen = 0
    fi
}

init {
    do
    :: atomic { now < 3 -> now++; promises() }
    :: atomic { COUNTED + 1 <= LIM && rival < LIM -> rival++; promises() }
    /* Extend */
    :: atomic { step == 0 && until == 1 && now <= until && !ENDED && hold == 0 ->
        if
        :: ASK_AFTER -> write()
        :: else -> step = 1; seen = ENDED
        fi;
        promises() }
    :: atomic { step == 1 ->
        if
        :: seen -> step = 0; seen = 0
        :: else -> write()
        fi;
        promises() }
    :: atomic { step == 2 || step == 3 ->
        seen = (ASK_AFTER -> ENDED : seen);
        if
        :: seen && step == 2 -> hold = 0
        :: seen && step == 3
        :: !seen -> until = 2; token = ((step == 2) -> 2 : token)
        fi;
        seen = 0; step = 0; promises() }
    /* Commit and Release, of the newest token */
    :: atomic { !recorded && !(fenced && !second) ->
        if
        :: token == 1 && now <= until && now <= old_D && !old_spent -> old_spent = 1; recorded = 1
        :: token == 2 && now <= until && lent > new_spent -> new_spent = 1; recorded = 1
        :: now <= until && !(token == 1 && now <= old_D && !old_spent) && !(token == 2 && lent > new_spent) ->
            assert(false) /* a live hold's Commit finds its units */
        :: now > until && COUNTED + 1 <= LIM -> recorded = 1
        :: now > until && COUNTED + 1 > LIM
        fi;
        told = !recorded; promises() }
    :: atomic { !ENDED -> fenced = 1; acked = 1; told = 0; promises() }
    :: atomic { !told -> hold = 0; told = 1; promises() }
    :: atomic { hold > 0 && now > until && step == 0 -> hold = 0; promises() } /* the reap */
    :: atomic { hold == 0 && step == 0 && lent > new_spent && (ENDED || now > until) -> lent--; promises() }
    od
}
