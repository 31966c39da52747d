/*
 * What goes out: messages, then the status. One machine for all kinds of method.
 *
 *   queue of packed messages --+
 *   sealed, status, trailing --+--> pump --> at most one batch with the send tag inside Core
 *   initial metadata ----------+
 *
 * pump puts into a batch all that may go together: the initial metadata if they have not gone, the
 * next message, and the status when that message is the last and the call is sealed: answered, or
 * ended by its queue. So a unary reply is one batch of four operations (with RECV_CLOSE_ON_SERVER,
 * unless it was posted before), and the last message of a stream shares its batch with the status.
 * While more messages wait, a message carries the hint to buffer, which is worth a factor of six for
 * small ones; the last of a burst goes without it and flushes. The batch that completes calls pump
 * again.
 *
 * dead: the client is gone or Core has refused a batch. Then nothing goes out any more, the queue is
 * dropped, and the call is over when it has been answered and Core has closed it.
 */
#include "stub/runtime.h"

#include <google/protobuf/any.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/slice_buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_TEXT_MAX = 2048 };

static void send_run(struct stub_tag *tag, bool ok, void *worker);

void answer_init(struct stub_call *call)
{
    call->initial = call->trailing = (struct call_metadata){0};
    queue_reset(&call->queue, &call->server->options.queue);
    call->status = STUB_OK;
    call->status_text = grpc_empty_slice();
    call->answered = call->sealed = call->told = call->initial_sent = call->status_sent = false;
    call->last_sent = call->sending = call->dead = call->initial_wanted = call->rejected = false;
    call->paused = call->owes_read = false;
    call->send_tag.run = send_run;
}

/* --- metadata ---------------------------------------------------------------------------------- */

static bool metadata_legal(grpc_slice key, grpc_slice value)
{
    if (!grpc_header_key_is_legal(key))
        return false;
    return grpc_is_binary_header(key) || grpc_header_nonbin_value_is_legal(value);
}

/* The array has room for one more than applications may add. Most of it is never touched. */
static void metadata_push(struct stub_call *call, struct call_metadata *metadata, grpc_slice key,
                          grpc_slice value)
{
    if (!metadata->items)
        metadata->items =
            arena_alloc(&call->arena, (CALL_METADATA_MAX + 1) * sizeof(*metadata->items));
    CHECK(metadata->items);
    metadata->items[metadata->count++] = (grpc_metadata){.key = key, .value = value};
}

/* Takes over value; an illegal pair would fail the whole batch inside Core, so it is dropped here. */
static void metadata_add(struct stub_call *call, struct call_metadata *metadata, grpc_slice key,
                         grpc_slice value)
{
    if (metadata->count >= CALL_METADATA_MAX || !metadata_legal(key, value)) {
        log_every(&call->server->batch_failed, LOG_WARN, "stub", "metadata.dropped method=%s",
                  LOG_VALUE(stub_call_method(call)));
        grpc_slice_unref(value);
        return;
    }
    metadata_push(call, metadata, key, value);
}

/*
 * Core copies keys when the batch starts, so they may lie in the arena; values may be written to the
 * socket after the call is over, so they may not.
 */
static void metadata_add_copy(struct stub_call *call, struct call_metadata *metadata,
                              const char *key, const void *value, size_t value_bytes)
{
    size_t bytes = strlen(key) + 1;
    char *copy = stub_call_alloc(call, bytes);

    memcpy(copy, key, bytes);
    metadata_add(call, metadata, grpc_slice_from_static_string(copy),
                 grpc_slice_from_copied_buffer(value, value_bytes));
}

void stub_call_add_initial(struct stub_call *call, const char *key, const char *value)
{
    metadata_add_copy(call, &call->initial, key, value, strlen(value));
}

void stub_call_add_trailing(struct stub_call *call, const char *key, const char *value)
{
    metadata_add_copy(call, &call->trailing, key, value, strlen(value));
}

void stub_call_add_initial_bin(struct stub_call *call, const char *key, const void *data,
                               size_t bytes)
{
    metadata_add_copy(call, &call->initial, key, data, bytes);
}

void stub_call_add_trailing_bin(struct stub_call *call, const char *key, const void *data,
                                size_t bytes)
{
    metadata_add_copy(call, &call->trailing, key, data, bytes);
}

void stub_call_add_initial_static(struct stub_call *call, const char *key, const char *value)
{
    metadata_add(call, &call->initial, grpc_slice_from_static_string(key),
                 grpc_slice_from_static_string(value));
}

void stub_call_add_trailing_static(struct stub_call *call, const char *key, const char *value)
{
    metadata_add(call, &call->trailing, grpc_slice_from_static_string(key),
                 grpc_slice_from_static_string(value));
}

/* --- pump; call->lock is held ------------------------------------------------------------------ */

struct batch {
    grpc_op ops[4];
    size_t count;
    bool has_message;
    grpc_byte_buffer message; /* Core takes the slices out when the batch starts */
};

static grpc_op *batch_add(struct batch *batch, grpc_op_type type)
{
    grpc_op *op = &batch->ops[batch->count++];

    memset(op, 0, sizeof(*op));
    op->op = type;
    return op;
}

static void batch_add_initial(struct batch *batch, struct stub_call *call)
{
    grpc_op *op = batch_add(batch, GRPC_OP_SEND_INITIAL_METADATA);

    op->data.send_initial_metadata.count = call->initial.count;
    op->data.send_initial_metadata.metadata = call->initial.items;
    call->initial_sent = true;
}

static void batch_add_message(struct batch *batch, struct stub_call *call)
{
    grpc_op *op = batch_add(batch, GRPC_OP_SEND_MESSAGE);

    batch->message.reserved = NULL;
    batch->message.type = GRPC_BB_RAW;
    batch->message.data.raw.compression = GRPC_COMPRESS_NONE;
    grpc_slice_buffer_init(&batch->message.data.raw.slice_buffer);
    grpc_slice_buffer_add(&batch->message.data.raw.slice_buffer, queue_pop(&call->queue));
    call->messages_out++;
    call->bytes_out += batch->message.data.raw.slice_buffer.length;
    batch->has_message = true;
    op->data.send_message.send_message = &batch->message;
    if (call->queue.count > 0)
        op->flags = GRPC_WRITE_BUFFER_HINT;
}

static void batch_add_status(struct batch *batch, struct stub_call *call)
{
    grpc_op *op = batch_add(batch, GRPC_OP_SEND_STATUS_FROM_SERVER);

    op->data.send_status_from_server.status = (grpc_status_code)call->status;
    op->data.send_status_from_server.status_details = &call->status_text;
    op->data.send_status_from_server.trailing_metadata_count = call->trailing.count;
    op->data.send_status_from_server.trailing_metadata = call->trailing.items;
    call->status_sent = true;
    if (call->close_posted)
        return;
    op = batch_add(batch, GRPC_OP_RECV_CLOSE_ON_SERVER);
    op->data.recv_close_on_server.cancelled = &call->core_cancelled;
    call->close_posted = call->last_sent = true;
}

/* Core will not have it: nothing can be saved but the process. */
static void pump_failed(struct stub_call *call, grpc_call_error error, bool close_was_posted)
{
    log_every(&call->server->batch_failed, LOG_ERROR, "stub", "batch.refused method=%s error=%d",
              LOG_VALUE(stub_call_method(call)), (int)error);
    call->dead = true;
    queue_drop(&call->queue);
    grpc_call_cancel_with_status(call->core, GRPC_STATUS_INTERNAL, "the reply cannot be sent", NULL);
    call->close_posted = close_was_posted;
    answer_post_close(call);
}

static void pump(struct stub_call *call)
{
    struct batch batch;
    grpc_call_error error;
    bool close_was_posted = call->close_posted;
    bool message = call->queue.count > 0;
    bool status = call->sealed && call->queue.count <= 1;
    bool initial = !call->initial_sent && (message || status || call->initial_wanted);

    if (call->sending || call->dead || call->status_sent || (!initial && !message && !status))
        return;
    batch.count = 0;
    batch.has_message = false;
    if (initial)
        batch_add_initial(&batch, call);
    if (message)
        batch_add_message(&batch, call);
    if (status)
        batch_add_status(&batch, call);
    call->sending = true;
    stub_call_ref(call);
    handoff_give(&call->send_tag);
    error = grpc_call_start_batch(call->core, batch.ops, batch.count, &call->send_tag, NULL);
    if (batch.has_message)
        grpc_slice_buffer_destroy(&batch.message.data.raw.slice_buffer);
    if (error == GRPC_CALL_OK)
        return;
    call->sending = call->last_sent = false;
    atomic_fetch_sub_explicit(&call->refs, 1, memory_order_relaxed); /* the caller has another */
    pump_failed(call, error, close_was_posted);
}

static void send_run(struct stub_tag *tag, bool ok, void *worker)
{
    struct stub_call *call = container_of(tag, struct stub_call, send_tag);
    bool drained;

    (void)worker;
    if (call->last_sent) { /* as for every unary call that was answered at once */
        stub_call_unref(call);
        return;
    }
    pthread_mutex_lock(&call->lock);
    call->sending = false;
    if (!ok) {
        call->dead = true;
        queue_drop(&call->queue);
    }
    pump(call);
    drained = call->on_drained && !call->sending && !call->sealed && !call->dead;
    pthread_mutex_unlock(&call->lock);
    if (drained && call_callback_begin(call)) {
        call->on_drained(call->on_drained_user);
        call_callback_end(call);
    }
    stub_call_unref(call);
}

/* --- answers ----------------------------------------------------------------------------------- */

/* Sends what there is and gives up the reference that stood for the answer. */
static void answer_commit(struct stub_call *call)
{
    call->answered = call->sealed = true;
    if (call->intercepted > 0)
        intercept_answered(call);
    pump(call);
    pthread_mutex_unlock(&call->lock);
    stub_call_unref(call);
}

/* Locks the call for its answer; false: it has one, and is not locked. */
static bool answer_begin(struct stub_call *call)
{
    bool rejected;

    pthread_mutex_lock(&call->lock);
    if (!call->answered)
        return true;
    rejected = call->rejected;
    pthread_mutex_unlock(&call->lock);
    if (!rejected)
        log_every(&call->server->batch_failed, LOG_ERROR, "stub", "call.answered_twice method=%s",
                  LOG_VALUE(stub_call_method(call)));
    return false;
}

bool stub_call_reply(struct stub_call *call, const ProtobufCMessage *message)
{
    grpc_slice slice;

    if (!message_encode(message, &slice))
        return stub_call_fail(call, STUB_RESOURCE_EXHAUSTED, "the reply is too large", NULL, 0);
    if (!answer_begin(call)) {
        grpc_slice_unref(slice);
        return false;
    }
    if (call->sealed)
        grpc_slice_unref(slice);
    else
        queue_push(&call->queue, slice);
    answer_commit(call);
    return true;
}

bool stub_call_finish(struct stub_call *call)
{
    if (!answer_begin(call))
        return false;
    answer_commit(call);
    return true;
}

/* A google.rpc.Status with each detail in an Any, as the value of grpc-status-details-bin. */
static grpc_slice pack_details(int code, const char *message,
                               const ProtobufCMessage *const *details, size_t count)
{
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    Google__Protobuf__Any *anys = calloc(count, sizeof(*anys));
    Google__Protobuf__Any **pointers = calloc(count, sizeof(*pointers));
    char text[STATUS_TEXT_MAX];
    grpc_slice slice;

    CHECK(anys && pointers);
    snprintf(text, sizeof(text), "%s", message);
    for (size_t i = 0; i < count; i++) {
        const char *name = details[i]->descriptor->name;
        size_t bytes = protobuf_c_message_get_packed_size(details[i]);
        size_t url_bytes = strlen(name) + sizeof("type.googleapis.com/");

        google__protobuf__any__init(&anys[i]);
        anys[i].type_url = malloc(url_bytes);
        anys[i].value = (ProtobufCBinaryData){bytes, malloc(bytes + 1)};
        CHECK(anys[i].type_url && anys[i].value.data);
        snprintf(anys[i].type_url, url_bytes, "type.googleapis.com/%s", name);
        protobuf_c_message_pack(details[i], anys[i].value.data);
        pointers[i] = &anys[i];
    }
    status.code = code;
    status.message = text;
    status.n_details = count;
    status.details = pointers;
    CHECK(message_encode(&status.base, &slice));
    for (size_t i = 0; i < count; i++) {
        free(anys[i].type_url);
        free(anys[i].value.data);
    }
    free(anys);
    free(pointers);
    return slice;
}

static void add_details(struct stub_call *call, grpc_slice details)
{
    metadata_push(call, &call->trailing, grpc_slice_from_static_string("grpc-status-details-bin"),
                  details);
}

static bool answer_fail(struct stub_call *call, int code, const char *message,
                        const ProtobufCMessage *const *details, size_t details_count, bool drop)
{
    size_t bytes = strnlen(message, STATUS_TEXT_MAX - 1);

    if (code <= STUB_OK || code > STUB_UNAUTHENTICATED)
        code = STUB_UNKNOWN;
    if (!answer_begin(call))
        return false;
    if (!call->sealed) {
        if (details_count > 0 && !call->dead)
            add_details(call, pack_details(code, message, details, details_count));
        if (drop)
            queue_drop(&call->queue);
        call->status = code;
        call->status_text = grpc_slice_from_copied_buffer(message, bytes);
    }
    answer_commit(call);
    return true;
}

bool stub_call_fail(struct stub_call *call, int code, const char *message,
                    const ProtobufCMessage *const *details, size_t details_count)
{
    return answer_fail(call, code, message, details, details_count, false);
}

bool stub_call_abort(struct stub_call *call, int code, const char *message,
                     const ProtobufCMessage *const *details, size_t details_count)
{
    return answer_fail(call, code, message, details, details_count, true);
}

/* --- streams ----------------------------------------------------------------------------------- */

void stub_call_set_queue(struct stub_call *call, const struct stub_queue *queue)
{
    pthread_mutex_lock(&call->lock);
    call->queue.bounds = queue_bounds(queue);
    pthread_mutex_unlock(&call->lock);
}

/* The policy ends the call; the application's answer is still owed and will find it so. */
static void overrun(struct stub_call *call)
{
    static const char text[] = "the reader is too slow";

    call->sealed = true;
    call->status = STUB_RESOURCE_EXHAUSTED;
    call->status_text = grpc_slice_from_static_string(text);
    if (call->queue.bounds.when_full == STUB_FULL_ABORT) {
        queue_drop(&call->queue);
        if (call->sending) { /* and may be so for ever: the reader need not read */
            call->told = true;
            grpc_call_cancel_with_status(call->core, GRPC_STATUS_RESOURCE_EXHAUSTED, text, NULL);
        }
    }
    pump(call);
}

/* call->lock is held. What happens to one more message of so many bytes? */
static enum stub_send send_state(struct stub_call *call, size_t bytes)
{
    if (call->dead || call->sealed)
        return STUB_SEND_DEAD;
    switch (queue_make_room(&call->queue, bytes)) {
    case QUEUE_ROOM:
        return STUB_SEND_OK;
    case QUEUE_FULL:
        return STUB_SEND_FULL;
    case QUEUE_OVERRUN:
        overrun(call);
        return STUB_SEND_DEAD;
    }
    UNREACHABLE();
}

/* Whether it is worth the packing. */
static enum stub_send send_outlook(struct stub_call *call)
{
    enum stub_send state = STUB_SEND_OK;

    pthread_mutex_lock(&call->lock);
    if (call->dead || call->sealed)
        state = STUB_SEND_DEAD;
    else if (queue_is_full(&call->queue))
        state = STUB_SEND_FULL;
    pthread_mutex_unlock(&call->lock);
    return state;
}

enum stub_send stub_call_send(struct stub_call *call, const ProtobufCMessage *message)
{
    enum stub_send state = send_outlook(call);
    grpc_slice slice;

    if (state != STUB_SEND_OK)
        return state;
    if (!message_encode(message, &slice))
        return STUB_SEND_DEAD;
    pthread_mutex_lock(&call->lock);
    state = send_state(call, GRPC_SLICE_LENGTH(slice));
    if (state == STUB_SEND_OK) {
        queue_push(&call->queue, slice);
        pump(call);
    } else {
        grpc_slice_unref(slice);
    }
    pthread_mutex_unlock(&call->lock);
    return state;
}

size_t stub_call_queued(struct stub_call *call)
{
    size_t count;

    pthread_mutex_lock(&call->lock);
    count = call->queue.count;
    pthread_mutex_unlock(&call->lock);
    return count;
}

uint64_t stub_call_dropped(struct stub_call *call)
{
    uint64_t dropped;

    pthread_mutex_lock(&call->lock);
    dropped = call->queue.dropped;
    pthread_mutex_unlock(&call->lock);
    return dropped;
}

void stub_call_send_initial(struct stub_call *call)
{
    pthread_mutex_lock(&call->lock);
    call->initial_wanted = true;
    if (!call->sealed)
        pump(call);
    pthread_mutex_unlock(&call->lock);
}
