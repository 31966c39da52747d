/*
 * From a posted request to a handler. A request that arrives is replaced by a new one before anything
 * else is done, so that the next call need not wait for this handler. A method starts with one posted
 * request and gets one more with each call up to posted_calls: Core looks through all outstanding tags
 * at each completion, so a method that nobody uses should cost one and not sixteen.
 */
#include "stub/runtime.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdio.h>

static void request_run(struct stub_tag *tag, bool ok, void *worker);

static bool reads_payload(const struct served_method *served)
{
    return served->method->kind == STUB_KIND_UNARY ||
           served->method->kind == STUB_KIND_SERVER_STREAM;
}

static grpc_call_error ask_core(struct served_method *served, struct stub_call *call)
{
    struct stub_server *server = served->server;

    if (!served->method)
        return grpc_server_request_call(server->core, &call->core, &call->details, &call->metadata,
                                        server->cq, server->cq, &call->request_tag);
    return grpc_server_request_registered_call(server->core, served->core, &call->core,
                                               &call->deadline, &call->metadata,
                                               reads_payload(served) ? &call->payload : NULL,
                                               server->cq, server->cq, &call->request_tag);
}

void request_post(struct served_method *served)
{
    struct stub_call *call;
    grpc_call_error error;

    if (atomic_load_explicit(&served->server->draining, memory_order_relaxed))
        return;
    call = call_take(served);
    call->request_tag.run = request_run;
    atomic_fetch_add_explicit(&served->posted, 1, memory_order_relaxed);
    handoff_give(&call->request_tag);
    error = ask_core(served, call);
    if (error == GRPC_CALL_OK)
        return;
    log_every(&served->server->batch_failed, LOG_ERROR, "stub", "request.refused error=%d",
              (int)error);
    atomic_fetch_sub_explicit(&served->posted, 1, memory_order_relaxed);
    call_recycle(call);
}

static void request_repost(struct served_method *served)
{
    int wanted = served->method ? served->server->options.posted_calls : UNKNOWN_METHODS_POSTED;
    int posted = atomic_fetch_sub_explicit(&served->posted, 1, memory_order_relaxed) - 1;

    request_post(served);
    if (posted + 1 < wanted)
        request_post(served);
}

static void dispatch_unknown(struct stub_call *call)
{
    char text[256];

    snprintf(text, sizeof(text), "unknown method %.200s", call->method_text);
    stub_call_fail(call, STUB_UNIMPLEMENTED, text, NULL, 0);
}

const ProtobufCMessage *stub_call_request(struct stub_call *call)
{
    const struct served_method *served;
    struct message_error error;

    CHECK(call);
    served = call->served;
    if (call->message || call->refused || !served->method || !reads_payload(served))
        return call->message;
    if (call->payload) {
        call->messages_in = 1;
        call->bytes_in = call->payload->data.raw.slice_buffer.length;
    }
    call->message = message_decode(&call->arena, served->method->request, call->payload,
                                   served->server->options.elements_max, &error);
    if (!call->message)
        call->refused = message_error_copy(&call->arena, &error);
    return call->message;
}

/* What interceptors are to find. */
static void prepare(struct stub_call *call)
{
    const struct served_method *served = call->served;

    if (!served->method) {
        call->deadline = call->details.deadline;
        call->method_text = grpc_slice_to_c_string(call->details.method);
    } else if (served->method->kind != STUB_KIND_UNARY) {
        call->peer = grpc_call_get_peer(call->core); /* Core forgets it when the client goes */
        pthread_mutex_lock(&call->lock);
        answer_post_close(call);
        pthread_mutex_unlock(&call->lock);
    }
}

static void dispatch(struct stub_call *call)
{
    const struct served_method *served = call->served;
    const ProtobufCMessage *message;

    prepare(call);
    if (call->server->interceptors_count > 0 && !intercept_before(call))
        return;
    if (!served->method) {
        dispatch_unknown(call);
        return;
    }
    message = stub_call_request(call);
    if (call->refused)
        reject_message(call, call->refused);
    else
        served->service->dispatch(served->handlers, served->user, served->index, call, message);
}

static void request_run(struct stub_tag *tag, bool ok, void *worker)
{
    struct stub_call *call = container_of(tag, struct stub_call, request_tag);

    if (!ok) { /* the server shuts down */
        atomic_fetch_sub_explicit(&call->served->posted, 1, memory_order_relaxed);
        call_recycle(call);
        return;
    }
    request_repost(call->served);
    atomic_fetch_add_explicit(&call->server->calls, 1, memory_order_relaxed);
    atomic_store_explicit(&call->refs, 2, memory_order_relaxed); /* the answer, and this function */
    call->callbacks = 1;
    call->worker = worker;
    call_life_step(call, CALL_OPEN);
    dispatch(call);
    call_callback_end(call);
    stub_call_unref(call);
}
