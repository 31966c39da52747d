/*
 * What goes out: messages, then the status. One machine for all kinds of method.
 *
 *   queue of packed messages --+
 *   sealed, status, trailing --+--> pump --> at most one batch with the send tag inside Core
 *   initial metadata ----------+
 *
 * send_next puts into a batch all that may go together: the initial metadata if they have not gone, the
 * next message, and the status when that message is the last and the call is sealed: answered, or
 * ended by its queue. So a unary reply is one batch of four operations (with RECV_CLOSE_ON_SERVER,
 * unless it was posted before), and the last message of a stream shares its batch with the status.
 * While more messages wait, a message carries the hint to buffer, which is worth a factor of six for
 * small ones; the last of a burst goes without it and flushes. The batch that completes sends the
 * next.
 *
 * How far it is, is call->out (call_stage.h). Dead: the client is gone or Core has refused a batch. Then
 * nothing goes out any more, the queue is dropped, and the call is over when it has been answered and
 * Core has closed it.
 */
#include "stub/core.h"
#include "stub/metadata.h"
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
static void last_run(struct stub_tag *tag, bool ok, void *worker);

/* The end is decided: nothing more may be queued. */
static bool is_sealed(const struct stub_call *call)
{
    return call->life != CALL_OPEN;
}

/* The initial metadata have gone, or are in the batch under way. */
static bool is_begun(const struct stub_call *call)
{
    return call->out != OUT_NONE && call->out != OUT_DEAD;
}

void answer_init(struct stub_call *call)
{
    call->initial = call->trailing = (struct call_metadata){0};
    queue_reset(&call->queue, &call->server->options.queue);
    call->status = STUB_OK;
    call->status_text = grpc_empty_slice();
    call->told = call->rejected = false;
    call->send_tag.run = send_run;
}

/* --- metadata ---------------------------------------------------------------------------------- */

/* The array has room for one more than applications may add. Most of it is never touched. */
static void metadata_push(struct stub_call *call, struct call_metadata *metadata, grpc_slice key,
                          grpc_slice value)
{
    if (!metadata->items)
        metadata->items =
            arena_alloc(&call->arena, (CALL_METADATA_MAX + 1) * sizeof(*metadata->items));
    CHECK(metadata->items);
    metadata->items[metadata->count++] = (grpc_metadata){.key = key, .value = value};
    metadata->bytes += metadata_bytes(key, value);
}

/* More than a client takes would cost other calls of its connection: Core 1.51 loses track there. */
static bool metadata_fits(const struct call_metadata *metadata, grpc_slice key, grpc_slice value)
{
    return metadata->bytes + metadata_bytes(key, value) <= CALL_METADATA_BYTES_MAX;
}

static void metadata_dropped(struct stub_call *call, const char *key, const char *why)
{
    log_every(&call->server->misused, LOG_WARN, "stub",
              "metadata.dropped method=%s key=%s reason=\"%s\"", LOG_VALUE(stub_call_method(call)),
              LOG_VALUE(key ? key : ""), why);
}

/*
 * Takes over value. An illegal pair would fail the whole batch inside Core, and one that comes when its
 * place is sent already would never arrive: these are dropped here. Of the two only the initial metadata
 * can be on their way while the application still has the call.
 */
static void metadata_add(struct stub_call *call, bool initial, const char *key, grpc_slice core_key,
                         grpc_slice value)
{
    struct call_metadata *metadata = initial ? &call->initial : &call->trailing;
    const char *why = metadata_fault(core_key, value);

    if (core_is_forked()) {
        grpc_slice_unref(value);
        return;
    }
    pthread_mutex_lock(&call->lock);
    if (!why && metadata->count >= CALL_METADATA_MAX)
        why = "there are 16";
    if (!why && !metadata_fits(metadata, core_key, value))
        why = "they would be more than 56 KiB";
    if (!why && (call->life == CALL_ANSWERED || (initial && is_begun(call))))
        why = "it is too late";
    if (!why)
        metadata_push(call, metadata, core_key, value);
    pthread_mutex_unlock(&call->lock);
    if (!why)
        return;
    metadata_dropped(call, key, why);
    grpc_slice_unref(value);
}

/*
 * Core copies keys when the batch starts, so they may lie in the arena; values may be written to the
 * socket after the call is over, so they may not.
 */
static void metadata_add_copy(struct stub_call *call, bool initial, const char *key,
                              const void *value, size_t value_bytes)
{
    size_t bytes;
    char *copy;

    CHECK(call);
    if (!key || !value) {
        metadata_dropped(call, key, "key or value is NULL");
        return;
    }
    bytes = strlen(key) + 1;
    copy = stub_call_alloc(call, bytes);
    memcpy(copy, key, bytes);
    metadata_add(call, initial, key, grpc_slice_from_static_string(copy),
                 grpc_slice_from_copied_buffer(value, value_bytes));
}

static void metadata_add_static(struct stub_call *call, bool initial, const char *key,
                                const char *value)
{
    CHECK(call);
    if (!key || !value)
        metadata_dropped(call, key, "key or value is NULL");
    else
        metadata_add(call, initial, key, grpc_slice_from_static_string(key),
                     grpc_slice_from_static_string(value));
}

void stub_call_add_initial(struct stub_call *call, const char *key, const char *value)
{
    CHECK(call);
    metadata_add_copy(call, true, key, value, value ? strlen(value) : 0);
}

void stub_call_add_trailing(struct stub_call *call, const char *key, const char *value)
{
    CHECK(call);
    metadata_add_copy(call, false, key, value, value ? strlen(value) : 0);
}

void stub_call_add_initial_bin(struct stub_call *call, const char *key, const void *data,
                               size_t bytes)
{
    CHECK(call);
    metadata_add_copy(call, true, key, data || bytes ? data : "", bytes);
}

void stub_call_add_trailing_bin(struct stub_call *call, const char *key, const void *data,
                                size_t bytes)
{
    CHECK(call);
    metadata_add_copy(call, false, key, data || bytes ? data : "", bytes);
}

void stub_call_add_initial_static(struct stub_call *call, const char *key, const char *value)
{
    CHECK(call);
    metadata_add_static(call, true, key, value);
}

void stub_call_add_trailing_static(struct stub_call *call, const char *key, const char *value)
{
    CHECK(call);
    metadata_add_static(call, false, key, value);
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
}

static void batch_add_close(struct batch *batch, struct stub_call *call)
{
    grpc_op *op = batch_add(batch, GRPC_OP_RECV_CLOSE_ON_SERVER);

    op->data.recv_close_on_server.cancelled = &call->core_cancelled;
    call_close_step(call, CLOSE_SHARED);
    call->send_tag.run = last_run;
}

/* Core will not have it: nothing can be saved but the process. */
static void send_failed(struct stub_call *call, grpc_call_error error)
{
    log_every(&call->server->batch_failed, LOG_ERROR, "stub", "batch.refused method=%s error=%d",
              LOG_VALUE(stub_call_method(call)), (int)error);
    if (call->close == CLOSE_SHARED)
        call_close_step(call, CLOSE_UNASKED);
    call_die(call);
    grpc_call_cancel_with_status(call->core, GRPC_STATUS_INTERNAL, "the reply cannot be sent",
                                 NULL);
    answer_post_close(call);
}

/* What is to go out now, in a batch of its own, and the stage with it. */
static void batch_fill(struct batch *batch, struct stub_call *call, bool status)
{
    enum call_out to = status ? OUT_STATUS : OUT_BUSY;

    batch->count = 0;
    batch->has_message = false;
    if (call->out == OUT_NONE)
        batch_add_initial(batch, call);
    if (call->queue.count > 0)
        batch_add_message(batch, call);
    if (status)
        batch_add_status(batch, call);
    if (status && call->close == CLOSE_UNASKED) {
        batch_add_close(batch, call);
        to = OUT_LAST;
    }
    call_out_step(call, to);
}

/* Starts the next batch if there is anything to send; none is inside Core, and the status is not out. */
static void send_next(struct stub_call *call, bool initial_wanted)
{
    struct batch batch;
    grpc_call_error error;
    bool status = is_sealed(call) && call->queue.count <= 1;

    if (call->queue.count == 0 && !status && !initial_wanted) {
        if (call->out == OUT_BUSY)
            call_out_step(call, OUT_IDLE);
        return;
    }
    batch_fill(&batch, call, status);
    stub_call_ref(call);
    handoff_give(&call->send_tag);
    error = grpc_call_start_batch(call->core, batch.ops, batch.count, &call->send_tag, NULL);
    if (batch.has_message)
        grpc_slice_buffer_destroy(&batch.message.data.raw.slice_buffer);
    if (error == GRPC_CALL_OK)
        return;
    atomic_fetch_sub_explicit(&call->refs, 1, memory_order_relaxed); /* the caller has another */
    send_failed(call, error);
}

/* Something may have come to send. */
static void pump(struct stub_call *call)
{
    if (call->out == OUT_NONE || call->out == OUT_IDLE)
        send_next(call, false);
}

/* As for every unary call that was answered at once: there is nothing more to do. */
static void last_run(struct stub_tag *tag, bool ok, void *worker)
{
    (void)ok, (void)worker;
    stub_call_unref(container_of(tag, struct stub_call, send_tag));
}

static void send_run(struct stub_tag *tag, bool ok, void *worker)
{
    struct stub_call *call = container_of(tag, struct stub_call, send_tag);
    bool drained;

    (void)worker;
    pthread_mutex_lock(&call->lock);
    if (!ok)
        call_die(call);
    else if (call->out == OUT_BUSY)
        send_next(call, false);
    else if (call->out == OUT_STATUS)
        call_out_step(call, OUT_SENT);
    drained = call->on_drained && call->out == OUT_IDLE;
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
    call_life_step(call, CALL_ANSWERED);
    if (call->intercepted > 0)
        intercept_answered(call);
    pump(call);
    pthread_mutex_unlock(&call->lock);
    stub_call_unref(call);
}

/* With call->lock held: messages may be queued. */
static bool may_send(const struct stub_call *call)
{
    return call->life == CALL_OPEN && call->out != OUT_DEAD;
}

/* Locks the call for its answer; false: it has one, or it is the parent's, and is not locked. */
static bool answer_begin(struct stub_call *call)
{
    bool rejected;

    if (core_is_forked()) {
        log_every(&call->server->misused, LOG_ERROR, "stub", "call.misused method=%s reason=%s",
                  LOG_VALUE(stub_call_method(call)), LOG_VALUE(CORE_FORKED_TEXT));
        return false;
    }
    pthread_mutex_lock(&call->lock);
    if (call->life != CALL_ANSWERED)
        return true;
    rejected = call->rejected;
    pthread_mutex_unlock(&call->lock);
    if (!rejected)
        log_every(&call->server->batch_failed, LOG_ERROR, "stub", "call.answered_twice method=%s",
                  LOG_VALUE(stub_call_method(call)));
    return false;
}

/* The application did what its method does not allow: the client is told, and so is the log. */
static bool answer_refuse(struct stub_call *call, int code, const char *what, const char *why)
{
    char text[WIRE_FIELD_MAX + 256];

    if (!answer_begin(call))
        return false;
    snprintf(text, sizeof(text), "%s: %s", what, why);
    log_every(&call->server->misused, LOG_ERROR, "stub", "call.misused method=%s reason=%s",
              LOG_VALUE(stub_call_method(call)), LOG_VALUE(text));
    if (!is_sealed(call)) {
        queue_drop(&call->queue);
        call->status = code;
        call->status_text = grpc_slice_from_copied_string(text);
    }
    answer_commit(call);
    return false;
}

static bool server_streams(const struct stub_call *call)
{
    const struct stub_method *method = call->served->method;

    return method && (method->kind == STUB_KIND_SERVER_STREAM || method->kind == STUB_KIND_BIDI);
}

bool stub_call_reply(struct stub_call *call, const ProtobufCMessage *message)
{
    struct message_refusal refusal;
    grpc_slice slice;

    CHECK(call);
    if (!call->served->method || server_streams(call))
        return answer_refuse(
            call, STUB_INTERNAL, "the handler replied",
            "a method whose server streams is answered by _send and stub_call_finish");
    if (!message_encode(call->served->method->response, message, &slice, &refusal))
        return answer_refuse(call, refusal.code, "the reply", refusal.text);
    if (!answer_begin(call)) {
        grpc_slice_unref(slice);
        return false;
    }
    if (may_send(call))
        queue_push(&call->queue, slice);
    else
        grpc_slice_unref(slice);
    answer_commit(call);
    return true;
}

bool stub_call_finish(struct stub_call *call)
{
    CHECK(call);
    if (!server_streams(call))
        return answer_refuse(call, STUB_INTERNAL, "the handler finished",
                             "a method with one reply is answered by _reply");
    if (!answer_begin(call))
        return false;
    answer_commit(call);
    return true;
}

/* A detail in an Any. False: it is none that could be sent. */
static bool pack_detail(const ProtobufCMessage *detail, Google__Protobuf__Any *any)
{
    static const char start[] = "type.googleapis.com/";
    struct message_refusal refusal;
    grpc_slice slice;
    size_t bytes;

    google__protobuf__any__init(any);
    if (!detail || !detail->descriptor ||
        !message_encode(detail->descriptor, detail, &slice, &refusal))
        return false;
    bytes = strlen(detail->descriptor->name) + sizeof(start);
    any->type_url = malloc(bytes);
    any->value =
        (ProtobufCBinaryData){GRPC_SLICE_LENGTH(slice), malloc(GRPC_SLICE_LENGTH(slice) + 1)};
    CHECK(any->type_url && any->value.data);
    snprintf(any->type_url, bytes, "%s%s", start, detail->descriptor->name);
    memcpy(any->value.data, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
    grpc_slice_unref(slice);
    return true;
}

/*
 * A google.rpc.Status as the value of grpc-status-details-bin. False: there is nothing to be said by it;
 * details that cannot be sent are left out.
 */
static bool pack_details(struct stub_call *call, int code, char *message,
                         const ProtobufCMessage *const *details, size_t count, grpc_slice *ret)
{
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    Google__Protobuf__Any *anys = calloc(count, sizeof(*anys));
    Google__Protobuf__Any **pointers = calloc(count, sizeof(*pointers));
    struct message_refusal refusal;

    CHECK(anys && pointers);
    for (size_t i = 0; i < count; i++) {
        if (pack_detail(details[i], &anys[status.n_details])) {
            pointers[status.n_details] = &anys[status.n_details];
            status.n_details++;
        }
    }
    if (status.n_details < count)
        log_every(&call->server->misused, LOG_ERROR, "stub", "details.dropped method=%s count=%zu",
                  LOG_VALUE(stub_call_method(call)), count - status.n_details);
    status.code = code;
    status.message = message;
    status.details = pointers;
    if (status.n_details > 0)
        CHECK(message_encode(&google__rpc__status__descriptor, &status.base, ret, &refusal));
    for (size_t i = 0; i < status.n_details; i++) {
        free(anys[i].type_url);
        free(anys[i].value.data);
    }
    free(anys);
    free(pointers);
    return status.n_details > 0;
}

static void add_details(struct stub_call *call, grpc_slice details)
{
    grpc_slice key = grpc_slice_from_static_string("grpc-status-details-bin");

    if (metadata_fits(&call->trailing, key, details)) {
        metadata_push(call, &call->trailing, key, details);
        return;
    }
    metadata_dropped(call, "grpc-status-details-bin", "they would be more than 56 KiB");
    grpc_slice_unref(details);
}

/* What a status may say: UTF-8, cut where it is too long. */
static void clean_text(const char *message, char *ret, size_t size)
{
    size_t bytes = message ? strnlen(message, size - 1) : 0;

    for (int i = 0; i < 3 && bytes > 0 && ((unsigned char)message[bytes] >> 6) == 2; i++)
        bytes--; /* a character that would be cut in two */
    if (bytes > 0)
        memcpy(ret, message, bytes);
    ret[bytes] = '\0';
    if (wire_text_valid(ret, bytes))
        return;
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)ret[i] >= 0x80)
            ret[i] = '?';
    }
}

static bool answer_fail(struct stub_call *call, int code, const char *message,
                        const ProtobufCMessage *const *details, size_t details_count, bool drop)
{
    char text[STATUS_TEXT_MAX];
    grpc_slice packed;

    CHECK(call);
    CHECK(details || details_count == 0);
    if (code <= STUB_OK || code > STUB_UNAUTHENTICATED)
        code = STUB_UNKNOWN;
    if (!answer_begin(call))
        return false;
    if (!is_sealed(call)) {
        clean_text(message, text, sizeof(text));
        if (details_count > 0 && call->out != OUT_DEAD &&
            pack_details(call, code, text, details, details_count, &packed))
            add_details(call, packed);
        if (drop)
            queue_drop(&call->queue);
        call->status = code;
        call->status_text = grpc_slice_from_copied_string(text);
    }
    answer_commit(call);
    return true;
}

bool stub_call_fail(struct stub_call *call, int code, const char *message,
                    const ProtobufCMessage *const *details, size_t details_count)
{
    CHECK(call);
    return answer_fail(call, code, message, details, details_count, false);
}

bool stub_call_abort(struct stub_call *call, int code, const char *message,
                     const ProtobufCMessage *const *details, size_t details_count)
{
    CHECK(call);
    return answer_fail(call, code, message, details, details_count, true);
}

/* --- streams ----------------------------------------------------------------------------------- */

void stub_call_set_queue(struct stub_call *call, const struct stub_queue *queue)
{
    CHECK(call && queue);
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    call->queue.bounds = queue_bounds(queue);
    pthread_mutex_unlock(&call->lock);
}

/* The runtime decides how the call ends; the application's answer is still owed and will find it so. */
static void end_call(struct stub_call *call, int code, const char *text)
{
    call->status = code;
    call->status_text = grpc_slice_from_copied_string(text);
    call_life_step(call, CALL_ENDED);
}

/* The queue's policy. */
static void overrun(struct stub_call *call)
{
    static const char text[] = "the reader is too slow";

    end_call(call, STUB_RESOURCE_EXHAUSTED, text);
    if (call->queue.bounds.when_full == STUB_FULL_ABORT) {
        queue_drop(&call->queue);
        if (call->out == OUT_BUSY) { /* and may be so for ever: the reader need not read */
            call->told = true;
            grpc_call_cancel_with_status(call->core, GRPC_STATUS_RESOURCE_EXHAUSTED, text, NULL);
        }
    }
    pump(call);
}

/* call->lock is held. What happens to one more message of so many bytes? */
static enum stub_send send_state(struct stub_call *call, size_t bytes)
{
    if (!may_send(call))
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

    if (core_is_forked())
        return STUB_SEND_DEAD;
    pthread_mutex_lock(&call->lock);
    if (!may_send(call))
        state = STUB_SEND_DEAD;
    else if (queue_is_full(&call->queue))
        state = STUB_SEND_FULL;
    pthread_mutex_unlock(&call->lock);
    return state;
}

/* call->lock is held. The call ends for a message that cannot be sent; its answer is still owed. */
static void send_refused(struct stub_call *call, const struct message_refusal *refusal)
{
    char text[WIRE_FIELD_MAX + 256];

    snprintf(text, sizeof(text), "a message of the stream: %s", refusal->text);
    log_every(&call->server->misused, LOG_ERROR, "stub", "call.misused method=%s reason=%s",
              LOG_VALUE(stub_call_method(call)), LOG_VALUE(text));
    if (!may_send(call))
        return;
    end_call(call, refusal->code, text);
    pump(call);
}

/* Takes over the slice. */
static enum stub_send send_slice(struct stub_call *call, grpc_slice slice)
{
    enum stub_send state;

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

void answer_send_unchecked(struct stub_call *call, const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));

    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    (void)send_slice(call, slice);
}

enum stub_send stub_call_send(struct stub_call *call, const ProtobufCMessage *message)
{
    struct message_refusal refusal;
    enum stub_send state;
    grpc_slice slice;

    CHECK(call);
    if (!server_streams(call)) {
        log_every(&call->server->misused, LOG_ERROR, "stub",
                  "call.misused method=%s reason=\"sent to a method with one reply\"",
                  LOG_VALUE(stub_call_method(call)));
        return STUB_SEND_DEAD;
    }
    state = send_outlook(call);
    if (state != STUB_SEND_OK)
        return state;
    if (!message_encode(call->served->method->response, message, &slice, &refusal)) {
        pthread_mutex_lock(&call->lock);
        send_refused(call, &refusal);
        pthread_mutex_unlock(&call->lock);
        return STUB_SEND_DEAD;
    }
    return send_slice(call, slice);
}

size_t stub_call_queued(struct stub_call *call)
{
    size_t count;

    CHECK(call);
    if (core_is_forked())
        return 0;
    pthread_mutex_lock(&call->lock);
    count = call->queue.count;
    pthread_mutex_unlock(&call->lock);
    return count;
}

uint64_t stub_call_dropped(struct stub_call *call)
{
    uint64_t dropped;

    CHECK(call);
    if (core_is_forked())
        return 0;
    pthread_mutex_lock(&call->lock);
    dropped = call->queue.dropped;
    pthread_mutex_unlock(&call->lock);
    return dropped;
}

void stub_call_send_initial(struct stub_call *call)
{
    CHECK(call);
    if (core_is_forked())
        return;
    pthread_mutex_lock(&call->lock);
    if (call->out == OUT_NONE && !is_sealed(call))
        send_next(call, true);
    pthread_mutex_unlock(&call->lock);
}
