/*
 * Twice: two Redis behind one address, both of which answer (PROTOCOL.md 3.6). The address leads to Redis 0,
 * then to Redis 1; connections stay where they are. Two servers. One failover costs one epoch, and at rest
 * everybody is at Redis 1. What stands in the authority row changes by compare and set.
 *
 * Rules, each with what it is without it:
 *   FRESH=1  only what a fresh connection reaches may begin an epoch   0: any connection's Redis may
 *   SET=1    by compare and set                                       0: whoever comes writes
 *   BEAT=1   the beat asks over a fresh connection                    0: over the one that it has
 */
#ifndef FRESH
#define FRESH 1
#endif
#ifndef SET
#define SET 1
#endif
#ifndef BEAT
#define BEAT 1
#endif

bit address = 0;
bit incarnation = 0; /* the authority row: which Redis */
byte epoch = 1;
bit at[2], believed[2];      /* per server: its connection, the Redis that it believes in */
byte believed_epoch[2];
bit looked[2];               /* it has looked again, over a fresh connection */
bit asked[2];                /* the beat has asked since the address moved */

inline server(s)
{
    if
    :: believed_epoch[s] != epoch -> believed_epoch[s] = epoch; believed[s] = incarnation; looked[s] = 0
    :: believed_epoch[s] == epoch && at[s] != believed[s] && FRESH && !looked[s] -> at[s] = address; looked[s] = 1
    :: at[s] != believed[s] && (looked[s] || !FRESH) && (!SET || believed_epoch[s] == epoch) ->
        epoch++; incarnation = at[s]; assert(epoch <= 2);
        believed[s] = incarnation; believed_epoch[s] = epoch; looked[s] = 0
    :: at[s] == believed[s] && looked[s] -> looked[s] = 0
    :: BEAT && address == 1 && !asked[s] -> at[s] = address; asked[s] = 1; looked[s] = 1
    fi
}

init {
    believed_epoch[0] = 1; believed_epoch[1] = 1;
    do
    :: atomic { address == 0 -> address = 1 }
    :: atomic { at[0] != address -> at[0] = address } /* its connection broke */
    :: atomic { server(0) }
    :: atomic { server(1) }
    :: atomic { address == 1 && epoch == believed_epoch[0] && epoch == believed_epoch[1] ->
        goto rest }
    od;
rest:
    /* From here on no connection breaks: what is not found by now is found by the beat, or never. */
    do
    :: atomic { server(0) }
    :: atomic { server(1) }
    :: else -> break
    od;
    assert(at[0] == 1 && at[1] == 1 && incarnation == 1)
}
