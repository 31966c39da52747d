/*
 * Messages of a streaming client: one read inside Core at a time, the next one when the application
 * has looked at this one. What is not read is held up at the client by flow control.
 */
#include "stub/core.h"
#include "stub/runtime.h"

#include <grpc/byte_buffer.h>

static void receive_run(struct stub_tag *tag, bool ok, void *worker);

void receive_init(struct stub_call *call)
{
    call->message_tag.run = receive_run;
}

static void receive_post(struct stub_call *call)
{
    grpc_call *core = call->core; /* once the batch is started the call may be over at any moment */
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    grpc_call_error error;

    op.data.recv_message.recv_message = &call->message_payload;
    stub_call_ref(call);
    handoff_give(&call->message_tag);
    error = grpc_call_start_batch(core, &op, 1, &call->message_tag, NULL);
    if (error == GRPC_CALL_OK)
        return;
    log_every(&call->server->batch_failed, LOG_ERROR, "stub", "receive.refused error=%d",
              (int)error);
    pthread_mutex_lock(&call->lock);
    call_read_step(call, READ_END);
    pthread_mutex_unlock(&call->lock);
    stub_call_unref(call);
}

static bool is_answered(struct stub_call *call)
{
    bool answered;

    pthread_mutex_lock(&call->lock);
    answered = call->life == CALL_ANSWERED;
    pthread_mutex_unlock(&call->lock);
    return answered;
}

/* Hands one message on. False: no more reading. */
static bool receive_message(struct stub_call *call)
{
    struct message_error error;
    ProtobufCMessage *message;

    if (!call->message_payload) {
        call->on_message(call->on_message_user, call, NULL);
        return false;
    }
    call->messages_in++;
    call->bytes_in += grpc_byte_buffer_length(call->message_payload);
    message = message_decode(&call->message_arena, call->served->method->request,
                             call->message_payload, call->server->options.elements_max, &error);
    grpc_byte_buffer_destroy(call->message_payload);
    call->message_payload = NULL;
    if (!message) {
        reject_message(call, &error);
        return false;
    }
    call->on_message(call->on_message_user, call, message);
    arena_reset(&call->message_arena);
    return true;
}

/* Reads on, leaves that to stub_call_resume, or reads no more. */
static void receive_next(struct stub_call *call, bool more)
{
    bool read = false;

    pthread_mutex_lock(&call->lock);
    if (!more || call->life == CALL_ANSWERED)
        call_read_step(call, READ_END);
    else if (call->read == READ_PAUSED)
        call_read_step(call, READ_OWED);
    else
        read = true;
    pthread_mutex_unlock(&call->lock);
    if (read)
        receive_post(call);
}

static void receive_run(struct stub_tag *tag, bool ok, void *worker)
{
    struct stub_call *call = container_of(tag, struct stub_call, message_tag);
    bool more = false;

    (void)ok;
    call->worker = worker;
    if (!is_answered(call) && call_callback_begin(call)) {
        more = receive_message(call);
        call_callback_end(call);
    }
    receive_next(call, more);
    stub_call_unref(call);
}

void stub_call_pause(struct stub_call *call)
{
    CHECK(call);
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    if (call->read == READ_NONE || call->read == READ_ON)
        call_read_step(call, READ_PAUSED);
    pthread_mutex_unlock(&call->lock);
}

void stub_call_resume(struct stub_call *call)
{
    bool read;

    CHECK(call);
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    read = call->read == READ_OWED && call->life != CALL_ANSWERED;
    if (read || (call->read == READ_PAUSED && call->on_message))
        call_read_step(call, READ_ON);
    else if (call->read == READ_PAUSED)
        call_read_step(call, READ_NONE);
    pthread_mutex_unlock(&call->lock);
    if (read)
        receive_post(call);
}

void stub_call_on_message(struct stub_call *call,
                          void (*fn)(void *user, struct stub_call *call,
                                     const ProtobufCMessage *message),
                          void *user)
{
    CHECK(call && fn && call->served->method &&
          (call->served->method->kind == STUB_KIND_BIDI ||
           call->served->method->kind == STUB_KIND_CLIENT_STREAM));
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    CHECK(!call->on_message);
    call->on_message = fn;
    call->on_message_user = user;
    if (call->read == READ_NONE)
        call_read_step(call, READ_ON);
    pthread_mutex_unlock(&call->lock);
    receive_post(call);
}
