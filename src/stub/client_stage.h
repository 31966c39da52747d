/*
 * The stages of a client's calls (base/stage.h), for the files of the runtime.
 *
 *   unary          free -> taken -> running -> [asks] -> over -> free;  taken -> over
 *                  Running: its one batch is inside Core. Asks: its callback waits for the reason
 *                  (tls_reason.h). A call that cannot be started is over at once.
 *
 *   stream.life    new -> running -> over -> [asks] -> left;  new -> failed
 *                  Running: the status is to come. Asks: as above. Left: call and channel are given
 *                  up. Failed: Core never had a call.
 *
 *   stream.send    ready <-> busy;  ready, busy -> closing -> closed;  ready -> closed;  any -> dead
 *                  The messages to the server. Busy: one is inside Core. Closing: nothing more may be
 *                  queued, and the half-close is to come after what is. Closed: it is inside Core, or
 *                  out. Dead: nothing goes out any more, as when the call is over.
 *
 *   stream.take    none -> asked -> here -> asked;  asked <-> paused -> owed -> asked;  any -> end
 *                  The messages from the server. Asked: a read is inside Core, or its message with a
 *                  callback. Here (only in the form that waits): a message waits to be taken. Paused
 *                  (only in the one that calls back): as asked, and it is the last; owed:
 *                  stub_stream_resume asks for the next. End: no more messages.
 *
 * A stream's are under its lock. A unary call's belongs to who has the call: who begins it, then the
 * channel's thread; in the form that waits, it is under the call's lock from running to over.
 */
#ifndef HOLDFAST_STUB_CLIENT_STAGE_H
#define HOLDFAST_STUB_CLIENT_STAGE_H

#include "base/stage.h"

struct stub_stream;
struct unary;

enum unary_life { UNARY_FREE, UNARY_TAKEN, UNARY_RUNNING, UNARY_ASKS, UNARY_OVER };
enum stream_life {
    STREAM_NEW,
    STREAM_RUNNING,
    STREAM_OVER,
    STREAM_ASKS,
    STREAM_LEFT,
    STREAM_FAILED
};
enum stream_send { SEND_READY, SEND_BUSY, SEND_CLOSING, SEND_CLOSED, SEND_DEAD };
enum stream_take { TAKE_NONE, TAKE_ASKED, TAKE_HERE, TAKE_PAUSED, TAKE_OWED, TAKE_END };

/* The tables, for tests. */
extern const struct stage_table unary_life_stages, stream_life_stages, stream_send_stages,
    stream_take_stages;

/* The only places that write unary->life, stream->life, send and take. */
void unary_life_step(struct unary *unary, enum unary_life to);
void stream_life_step(struct stub_stream *stream, enum stream_life to);
void stream_send_step(struct stub_stream *stream, enum stream_send to);
void stream_take_step(struct stub_stream *stream, enum stream_take to);

#endif
