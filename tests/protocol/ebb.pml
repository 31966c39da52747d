/*
 * Ebb: the deadline of a lease falls while others raise it (PROTOCOL.md 3.8). One quota, one lease with room
 * enough, one hold; deadlines are 1 .. LAST. The root closes the lease at its own deadline, so no hold in
 * Redis may be live for longer than that.
 *
 * Rules, as they are numbered there, each with what it is without it:
 *   REDIS_FIRST=1  Redis lowers D before the row does                     0: the row follows a look at Redis
 *   INDEX=1        D falls only if the index has every hold               0: it falls to what the index has
 *   DATED=1        D of totals whose B is older is not taken              0: the largest D is taken
 *   NEWS=1         the row follows only where that B is news              0: it always follows
 *   KEPT=1         a kept lease's hold moves only if B is what it was     0: it moves
 */
#ifndef LAST
#define LAST 3
#endif
#ifndef BS
#define BS 3
#endif
#ifndef REDIS_FIRST
#define REDIS_FIRST 1
#endif
#ifndef INDEX
#define INDEX 1
#endif
#ifndef DATED
#define DATED 1
#endif
#ifndef NEWS
#define NEWS 1
#endif
#ifndef KEPT
#define KEPT 1
#endif

byte row_D = LAST, row_B = 0;
byte D = LAST, B = 0, hold = 0; /* Redis; hold: its deadline, 0: none */
bit indexed = 0;
byte totals_D[2], totals_B[2]; /* two requests with totals under way; D 0: none */
byte ebb_D = 0, ebb_B = 0;     /* an answer of recall.lua under way */
byte kept_D = 0, kept_B = 0;   /* an Extend under a lease that the root keeps */
byte looked = 0;               /* what a look at Redis saw, without REDIS_FIRST */
byte d, needed;

inline move(to)
{
    hold = to; indexed = 1
}

inline carry(i) /* a request with totals: a grant, a notify, a reap */
{
    if
    :: totals_D[i] == 0 -> /* read from the row; it may be raised in the same transaction */
        if
        :: skip
        :: row_D < LAST -> row_D = LAST
        fi;
        if
        :: skip
        :: row_B < B -> row_B = B /* the root was told how far Redis is (seen_returned) */
        fi;
        totals_D[i] = row_D; totals_B[i] = row_B
    :: totals_D[i] > 0 -> /* it arrives */
        D = ((D < totals_D[i] && (!DATED || B <= totals_B[i])) -> totals_D[i] : D);
        B = (B < totals_B[i] -> totals_B[i] : B);
        if
        :: totals_D[i] = 0; totals_B[i] = 0
        :: skip /* and arrives again */
        fi
    :: totals_D[i] > 0 -> totals_D[i] = 0; totals_B[i] = 0 /* it is lost */
    fi
}

init {
    do
    :: atomic {
        select (d : 1 .. LAST); /* Reserve or Extend, inside the lease */
        if
        :: d <= D && d > hold -> move(d)
        :: else
        fi;
        d = 0; assert(hold <= row_D) }
    :: atomic { hold > 0 -> hold = 0; indexed = 0 }
    :: atomic { hold > 0 && indexed -> indexed = 0 } /* Redis loses a part of the index */
    :: atomic { B < BS && ebb_D == 0 && (!INDEX || hold == 0 || indexed) -> /* recall.lua */
        needed = ((hold > 1 && indexed) -> hold : 1);
        if
        :: needed < D -> D = needed; B++; ebb_D = D; ebb_B = B
        :: else
        fi;
        needed = 0 }
    :: atomic { ebb_D > 0 -> /* its answer reaches the root, or is lost */
        if
        :: ebb_B > row_B || !NEWS ->
            row_B = (ebb_B > row_B -> ebb_B : row_B);
            row_D = (ebb_D < row_D -> ebb_D : row_D)
        :: skip
        fi;
        ebb_D = 0; ebb_B = 0; assert(hold <= row_D) }
    :: atomic { carry(0); assert(hold <= row_D) }
    :: atomic { carry(1); assert(hold <= row_D) }
    :: atomic { kept_D == 0 && hold > 0 -> /* the root keeps the lease until LAST */
        row_D = LAST; kept_D = LAST; kept_B = row_B }
    :: atomic { kept_D > 0 -> /* extend.lua */
        if
        :: hold > 0 && (!KEPT || B <= kept_B) -> move(kept_D)
        :: else
        fi;
        kept_D = 0; kept_B = 0; assert(hold <= row_D) }
#if !REDIS_FIRST
    :: atomic { looked == 0 -> looked = (hold > 1 -> hold : 1) }
    :: atomic { looked > 0 -> row_D = (looked < row_D -> looked : row_D); looked = 0; assert(hold <= row_D) }
#endif
    od
}
