#include "stub/intercept.h"

#include "base/clock.h"
#include "stub/runtime.h"

#include <grpc/slice.h>
#include <stdlib.h>

/* The client's clock of a deadline runs ahead of ours by the way here, and its cancellation comes. */
enum { LATE_US = 20000 };

void stub_server_intercept(struct stub_server *server, const struct stub_interceptor *interceptor)
{
    size_t count;

    CHECK(server && interceptor && !atomic_load(&server->started));
    count = server->interceptors_count + 1;
    server->interceptors = realloc(server->interceptors, count * sizeof(*server->interceptors));
    CHECK(server->interceptors);
    server->interceptors[server->interceptors_count++] = *interceptor;
}

bool intercept_before(struct stub_call *call)
{
    const struct stub_server *server = call->server;

    call->arrived_us = clock_mono_us(clock_real());
    call->states = stub_call_alloc(call, server->interceptors_count * sizeof(*call->states));
    while (call->intercepted < server->interceptors_count) {
        const struct stub_interceptor *one = &server->interceptors[call->intercepted];
        void **state = &call->states[call->intercepted++];

        if (one->before && !one->before(one->user, call, state))
            return false;
    }
    return true;
}

void intercept_answered(struct stub_call *call)
{
    call->answered_us = clock_mono_us(clock_real());
}

static const char *ended_message(struct stub_call *call)
{
    const char *text =
        arena_strndup(&call->arena, (const char *)GRPC_SLICE_START_PTR(call->status_text),
                      GRPC_SLICE_LENGTH(call->status_text));

    CHECK(text);
    return text;
}

void intercept_after(struct stub_call *call)
{
    const struct stub_server *server = call->server;
    struct stub_ended ended = {
        .call = call,
        .method = call->served->method,
        .code = call->status,
        .message = "",
        .answer = call->status,
        .arrived_us = call->arrived_us,
        .answered_us = call->answered_us,
        .ended_us = clock_mono_us(clock_real()),
        .messages_in = call->messages_in,
        .bytes_in = call->bytes_in,
        .messages_out = call->messages_out,
        .bytes_out = call->bytes_out,
    };

    if (call->core_cancelled && !call->told) {
        bool late = stub_call_deadline_left_us(call) < LATE_US;

        ended.code = late ? STUB_DEADLINE_EXCEEDED : STUB_CANCELLED;
        ended.message = late ? "the deadline was over" : "the client has gone";
    } else if (call->status != STUB_OK) {
        ended.message = ended_message(call);
    }
    while (call->intercepted > 0) {
        const struct stub_interceptor *one = &server->interceptors[--call->intercepted];

        if (one->after)
            one->after(one->user, &ended, call->states[call->intercepted]);
    }
}
