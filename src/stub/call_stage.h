/*
 * The stages of a server's call (base/stage.h), for the files of the runtime. Four machines, since four
 * things go on at once:
 *
 *   life    free -> posted -> open -> [ended] -> answered -> free
 *           What the application owes: its answer, from open until answered. Ended: the runtime has
 *           decided how the call ends, such as for a queue that is full; the answer is owed all the same.
 *
 *   out     none -> busy <-> idle;  none, busy, idle -> status -> sent
 *           any of the first three -> last;  any -> dead
 *           What has gone out and whether a batch is inside Core: busy, status and last have one.
 *           Status is for a call whose end Core was asked for earlier. Last is the one batch that carries
 *           both the status and that question; nothing comes after it. Dead: nothing can
 *           be sent any more; a batch may still be inside Core.
 *
 *   close   unasked -> asked -> seen -> [waits] -> told;  unasked -> shared
 *           What Core says of the call's end. Shared: it will say it with the last batch. Waits:
 *           on_closed is due and a callback runs. Told: on_closed has run, or does; no callback begins
 *           any more.
 *
 *   read    none -> on <-> paused -> owed -> on;  any -> end
 *           The messages of a streaming client. On: a read is inside Core, or its message is with the
 *           application. Paused: the same, and it is the last; owed: stub_call_resume posts the next.
 *
 * They are under the call's lock, except life: before the request has come and after the last reference has
 * gone it is not. An application's mistakes decide no step: the callers of these have checked before.
 */
#ifndef HOLDFAST_STUB_CALL_STAGE_H
#define HOLDFAST_STUB_CALL_STAGE_H

#include "base/stage.h"

struct stub_call;

enum call_life { CALL_FREE, CALL_POSTED, CALL_OPEN, CALL_ENDED, CALL_ANSWERED };
enum call_out { OUT_NONE, OUT_BUSY, OUT_IDLE, OUT_STATUS, OUT_SENT, OUT_LAST, OUT_DEAD };
enum call_close { CLOSE_UNASKED, CLOSE_ASKED, CLOSE_SHARED, CLOSE_SEEN, CLOSE_WAITS, CLOSE_TOLD };
enum call_read { READ_NONE, READ_ON, READ_PAUSED, READ_OWED, READ_END };

/* The tables, for tests. */
extern const struct stage_table call_life_stages, call_out_stages, call_close_stages,
    call_read_stages;

/* The only places that write call->life, out, close and read. */
void call_life_step(struct stub_call *call, enum call_life to);
void call_out_step(struct stub_call *call, enum call_out to);
void call_close_step(struct stub_call *call, enum call_close to);
void call_read_step(struct stub_call *call, enum call_read to);

#endif
