/*
 * Interceptors: what runs around every call of a server, for logging, metrics, authentication and
 * admission.
 *
 *   static bool before(void *user, struct stub_call *call, void **state)
 *   {
 *       if (known(user, stub_call_metadata(call, "authorization")))
 *           return true;
 *       stub_call_fail(call, STUB_UNAUTHENTICATED, "who are you?", NULL, 0);
 *       return false;
 *   }
 *   stub_server_intercept(server, &(struct stub_interceptor){.before = before, .user = users});
 *
 * `before` runs in the order in which interceptors were added. `after` runs in reverse, for those whose
 * `before` has run. Both see every call that reaches this process: calls of all kinds, of methods that
 * nobody serves, and calls whose message the runtime refuses. What Core itself refuses (a message over
 * message_bytes_max, compression, a broken connection) never becomes a call.
 */
#ifndef HOLDFAST_STUB_INTERCEPT_H
#define HOLDFAST_STUB_INTERCEPT_H

#include "stub/call.h"
#include "stub/method.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended. Times are those of one monotonic clock. */
struct stub_ended {
    struct stub_call *call;           /* for its peer, metadata, user; it is answered */
    const struct stub_method *method; /* NULL: one that nobody serves, see stub_call_method */

    /*
     * What the client was told, as far as this side can know: STUB_CANCELLED, or
     * STUB_DEADLINE_EXCEEDED if the deadline was all but over, when the answer did not reach it.
     */
    int code;
    const char *message;
    int answer; /* the code of the handler's answer; other than `code` only when that was lost */

    int64_t arrived_us;  /* when the first `before` was called */
    int64_t answered_us; /* when the answer was given */
    int64_t ended_us;    /* now */

    uint64_t messages_in; /* what was read of the client's messages, and their bytes as sent */
    uint64_t bytes_in;
    uint64_t messages_out; /* what was handed to the transport */
    uint64_t bytes_out;
};

/* Either function may be NULL. */
struct stub_interceptor {
    /*
     * On the worker's thread, before the handler; stub_call_request has the message of a unary or
     * server-streaming call. True: go on. False: this interceptor takes the call: it has answered it
     * (stub_call_fail) or will do so, and neither later interceptors nor the handler see it. `*state`
     * is NULL at first and is what `after` gets.
     */
    bool (*before)(void *user, struct stub_call *call, void **state);

    /*
     * Exactly once, when the call is over: answered, its client told or gone, no reference held. On
     * whichever thread made it so, which may hold locks of its own: be quick, block for nothing, and
     * use nothing of stub/ but what tells about this call.
     */
    void (*after)(void *user, const struct stub_ended *ended, void *state);

    void *user;
};

#ifdef __cplusplus
}
#endif

#endif
