/*
 * Attempts: one job that is released, expires and is reserved again, up to NA times, and a competitor for
 * what is left (PROTOCOL.md 3.1, 3.2, 3.4). One lease, one Redis that loses nothing; notifies are lost.
 * Amounts are 1, the limit is LIM.
 *
 * Rules, each with what it is without it:
 *   ASK=1    the ledger is asked before a live hold is shown again   0: Redis alone answers
 *   DUE=1    a hold past its deadline is reaped before the next      0: the next overwrites it
 *   MARK=1   the reap marks a job that is recorded                   0: it removes the hold only
 *   FENCE=1  a released attempt never commits                        0: the record alone decides
 */
#ifndef NA
#define NA 3
#endif
#ifndef LIM
#define LIM 1
#endif
#ifndef ASK
#define ASK 1
#endif
#ifndef DUE
#define DUE 1
#endif
#ifndef MARK
#define MARK 1
#endif
#ifndef FENCE
#define FENCE 1
#endif

byte attempts = 0;
byte hold = 0;  /* in Redis: the attempt, 0: none */
bit marked = 0; /* FINAL */
byte r_spent = 0, spent = 0;
byte recorded = 0; /* the attempt that was */
bit known[NA + 1], expired[NA + 1], fenced[NA + 1], released[NA + 1];
bit notify = 0;  /* of the record, under way */
byte remove = 0; /* the attempt that Redis is to let go of */
byte asking = 0; /* the attempt that a repeat found, while it asks the ledger */
bit rival_held = 0, rival_expired = 0, rival_recorded = 0;
byte k, live;

#define FREE(beside) (r_spent + (beside) + 1 <= LIM)
#define ANY(a) (a >= 1 && a <= attempts)

inline promises()
{
    live = 0; k = 1;
    do
    :: k <= NA ->
        live = ((known[k] && !expired[k] && !fenced[k] && recorded == 0) -> 1 : live);
        assert(!(released[k] && recorded == k));
        k++
    :: else -> break
    od;
    assert((recorded > 0) + rival_recorded + live + (rival_held && !rival_expired && !rival_recorded) <= LIM);
    live = 0; k = 0
}

/* ALLOW for an attempt: no answer of a job that had ended when it was asked for. */
inline allow(a)
{
    assert(recorded == 0 && !released[a]);
    known[a] = 1
}

inline attempt(a)
{
    if
    :: ANY(a) && !expired[a] -> expired[a] = 1
    :: ANY(a) && recorded == 0 && known[a] && !expired[a] && !(FENCE && fenced[a]) ->
        assert(spent < LIM); spent++; recorded = a; notify = 1
    :: ANY(a) && recorded == 0 && known[a] && !fenced[a] -> fenced[a] = 1; released[a] = 1; remove = a
    fi
}

init {
    do
    :: atomic { asking == 0 && hold == 0 && !marked && attempts < NA && FREE(rival_held) ->
        attempts++; hold = attempts;
        if
        :: allow(attempts)
        :: skip /* the answer is lost */
        fi;
        promises() }
    :: atomic { asking == 0 && hold > 0 && !expired[hold] -> /* a repeat */
        if
        :: ASK -> asking = hold
        :: else -> allow(hold)
        fi;
        promises() }
    :: atomic { asking > 0 ->
        if
        :: recorded > 0
        :: recorded == 0 && fenced[asking] ->
            if
            :: hold == asking -> hold = 0
            :: else
            fi
        :: else -> allow(asking)
        fi;
        asking = 0; promises() }
    :: atomic { !DUE && hold > 0 && expired[hold] && attempts < NA && FREE(rival_held) ->
        attempts++; hold = attempts; allow(attempts); promises() }
    :: atomic { attempt(1); promises() }
    :: atomic { attempt(2); promises() }
#if NA > 2
    :: atomic { attempt(3); promises() }
#endif
    :: atomic { hold > 0 && expired[hold] -> /* the reap */
        r_spent = (r_spent < spent -> spent : r_spent);
        marked = ((recorded > 0 && MARK) -> 1 : marked);
        hold = 0; promises() }
    :: atomic { notify ->
        notify = 0;
        if
        :: r_spent = (r_spent < spent -> spent : r_spent); hold = 0; marked = 1
        :: skip
        fi;
        promises() }
    :: atomic { remove > 0 ->
        if
        :: hold == remove -> hold = 0
        :: skip /* lost, or another attempt holds */
        fi;
        remove = 0; promises() }
    :: atomic { !rival_held && !rival_recorded && FREE(hold > 0) -> rival_held = 1; promises() }
    :: atomic { rival_held && !rival_expired -> rival_expired = 1 }
    :: atomic { rival_held && !rival_recorded && !rival_expired ->
        assert(spent < LIM); spent++; rival_recorded = 1; rival_held = 0;
        r_spent = (r_spent < spent -> spent : r_spent); promises() }
    od
}
