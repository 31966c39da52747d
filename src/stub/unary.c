/*
 * Unary calls of a client: one batch of six operations, one completion. The synchronous form is the
 * asynchronous one plus a wait; it unpacks the reply on the caller's thread.
 */
#include "stub/unary.h"

#include "stub/core.h"
#include "stub/message.h"
#include "stub/tls_reason.h"

#include <grpc/byte_buffer.h>
#include <stdlib.h>
#include <string.h>

enum { METADATA_CHUNK_BYTES = 1024 };

/* --- memory ------------------------------------------------------------------------------------ */

static struct unary *unary_take(struct stub_channel *channel, const struct stub_method *method)
{
    struct unary *unary;

    pthread_mutex_lock(&channel->lock);
    unary = channel->free_unaries;
    if (unary)
        channel->free_unaries = unary->next_free;
    pthread_mutex_unlock(&channel->lock);
    if (!unary) {
        unary = calloc(1, sizeof(*unary));
        CHECK(unary);
        unary->channel = channel;
        CHECK(pthread_mutex_init(&unary->lock, NULL) == 0);
        CHECK(pthread_cond_init(&unary->changed, NULL) == 0);
        arena_init(&unary->arena, CLIENT_ARENA_BYTES, SIZE_MAX / 2);
    }
    unary->method = method;
    unary->reply = NULL;
    unary->deliver = NULL;
    unary->link.intercepted = false;
    status_source_init(&unary->source);
    unary_life_step(unary, UNARY_TAKEN);
    return unary;
}

static void unary_give_back(struct unary *unary)
{
    struct stub_channel *channel = unary->channel;

    if (unary->reply)
        grpc_byte_buffer_destroy(unary->reply);
    unary->reply = NULL;
    status_source_done(&unary->source);
    arena_reset(&unary->arena);
    unary_life_step(unary, UNARY_FREE);
    pthread_mutex_lock(&channel->lock);
    unary->next_free = channel->free_unaries;
    channel->free_unaries = unary;
    pthread_mutex_unlock(&channel->lock);
}

void unary_free_all(struct stub_channel *channel)
{
    while (channel->free_unaries) {
        struct unary *unary = channel->free_unaries;

        channel->free_unaries = unary->next_free;
        arena_done(&unary->arena);
        pthread_mutex_destroy(&unary->lock);
        pthread_cond_destroy(&unary->changed);
        free(unary);
    }
}

/* --- the call ---------------------------------------------------------------------------------- */

static void unary_run(struct client_tag *tag, bool ok);

static grpc_call_error start_batch(struct unary *unary, const struct stub_call_options *options,
                                   grpc_byte_buffer *request)
{
    struct status_source *source = &unary->source;
    grpc_call *core = unary->link.core;
    struct arena metadata; /* not the call's: that may be over, and in use again, before we are */
    grpc_op ops[6];
    grpc_call_error error;
    const char *fault;

    memset(ops, 0, sizeof(ops));
    arena_init(&metadata, METADATA_CHUNK_BYTES, SIZE_MAX);
    fault = outgoing_fill(unary->channel, unary->method, &unary->link, options, &metadata, &ops[0]);
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &source->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &unary->reply;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.status = &source->code;
    ops[5].data.recv_status_on_client.status_details = &source->text;
    ops[5].data.recv_status_on_client.trailing_metadata = &source->trailing;
    unary->tag.run = unary_run;
    unary_life_step(unary, UNARY_RUNNING);
    handoff_give(&unary->tag);
    if (fault)
        error = GRPC_CALL_ERROR_INVALID_METADATA;
    else
        error = grpc_call_start_batch(core, ops, ARRAY_COUNT(ops), &unary->tag, NULL);
    if (error != GRPC_CALL_OK)
        unary->source.text =
            grpc_slice_from_copied_string(fault ? fault : grpc_call_error_to_string(error));
    outgoing_drop(&ops[0]);
    arena_done(&metadata);
    return error;
}

/* False: it could not be started; the source tells why. */
static bool unary_begin(struct unary *unary, const struct stub_call_options *options,
                        const ProtobufCMessage *request)
{
    struct stub_channel *channel = unary->channel;
    struct message_refusal refusal;
    grpc_byte_buffer *buffer;
    grpc_call_error error;
    grpc_slice slice;

    if (!message_encode_request(unary->method->request, request, &slice, &refusal)) {
        status_source_refuse(&unary->source, &refusal);
        return false;
    }
    if (!channel_begin(channel, unary->method, options, &unary->link)) {
        grpc_slice_unref(slice);
        unary->source.code = GRPC_STATUS_UNAVAILABLE;
        unary->source.text = grpc_slice_from_static_string("the channel is closed");
        return false;
    }
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    error = start_batch(unary, options, buffer);
    grpc_byte_buffer_destroy(buffer);
    if (error == GRPC_CALL_OK)
        return true;
    channel_end(channel, &unary->link);
    channel_unref(channel);
    return false;
}

/* False: the call is over already. */
static bool unary_start(struct unary *unary, const struct stub_call_options *options,
                        const ProtobufCMessage *request)
{
    if (unary_begin(unary, options, request))
        return true;
    unary_life_step(unary, UNARY_OVER);
    return false;
}

/* --- asynchronous ------------------------------------------------------------------------------ */

static void deliver(struct unary *unary)
{
    struct stub_status status = STUB_STATUS_INIT;
    ProtobufCMessage *reply = NULL;
    struct message_error error;

    status_fill(&status, &unary->arena, &unary->source);
    if (status.code == STUB_OK) {
        reply = message_decode(&unary->arena, unary->method->response, unary->reply,
                               CLIENT_ELEMENTS_MAX, &error);
        if (!reply)
            status_override(&status, &unary->arena, STUB_INTERNAL, error.text);
    }
    if (unary->link.intercepted)
        outgoing_after(unary->channel, unary->method, &unary->link, status.code, status.message);
    unary->deliver(unary->done, unary->user, &status, reply);
}

/* In a child of fork: no lock of the channel may be taken. */
static void refuse_forked(struct status_source *source)
{
    status_source_init(source);
    source->code = GRPC_STATUS_UNAVAILABLE;
    source->text = grpc_slice_from_static_string(CORE_FORKED_TEXT);
}

static void deliver_forked(stub_deliver *fn, stub_function *done, void *user)
{
    struct stub_status status = STUB_STATUS_INIT;
    struct status_source source;

    refuse_forked(&source);
    status_fill_owned(&status, &source);
    fn(done, user, &status, NULL);
    stub_status_clear(&status);
    status_source_done(&source);
}

static int collect_forked(ProtobufCMessage **ret_reply, struct stub_status *ret_status)
{
    struct status_source source;

    if (ret_reply)
        *ret_reply = NULL;
    refuse_forked(&source);
    if (ret_status)
        status_fill_owned(ret_status, &source);
    status_source_done(&source);
    return STUB_UNAVAILABLE;
}

/* In the form that calls back. */
static void end(struct unary *unary)
{
    struct stub_channel *channel = unary->channel;

    unary_life_step(unary, UNARY_OVER);
    tls_reason_append(channel->reason, &unary->link, &unary->source, false);
    deliver(unary);
    channel_end(channel, &unary->link);
    unary_give_back(unary);
    channel_unref(channel);
}

static void wait_run(struct client_tag *tag, bool ok)
{
    (void)ok;
    end(container_of(tag, struct unary, wait.tag));
}

static void unary_run(struct client_tag *tag, bool ok)
{
    struct unary *unary = container_of(tag, struct unary, tag);

    (void)ok; /* with RECV_STATUS in the batch it is always true; the status tells */
    if (unary->deliver) {
        if (tls_reason_defer(unary->channel->reason, &unary->link, &unary->source, &unary->wait,
                             wait_run))
            unary_life_step(unary, UNARY_ASKS);
        else
            end(unary);
        return;
    }
    pthread_mutex_lock(&unary->lock);
    unary_life_step(unary, UNARY_OVER);
    pthread_cond_signal(&unary->changed);
    pthread_mutex_unlock(&unary->lock);
}

void stub_unary_async(struct stub_channel *channel, const struct stub_method *method,
                      const struct stub_call_options *options, const ProtobufCMessage *request,
                      stub_deliver *fn, stub_function *done, void *user)
{
    struct unary *unary;

    CHECK(channel && method && method->kind == STUB_KIND_UNARY && fn && done);
    if (core_is_forked()) {
        deliver_forked(fn, done, user);
        return;
    }
    unary = unary_take(channel, method);
    unary->deliver = fn;
    unary->done = done;
    unary->user = user;
    if (unary_start(unary, options, request))
        return;
    deliver(unary);
    unary_give_back(unary);
}

/* --- synchronous ------------------------------------------------------------------------------- */

static int collect(struct unary *unary, ProtobufCMessage **ret_reply,
                   struct stub_status *ret_status)
{
    struct message_error error;
    int code = (int)unary->source.code;
    bool unreadable = false;

    *ret_reply = NULL;
    if (code == STUB_OK) {
        *ret_reply = message_decode_malloc(unary->method->response, unary->reply,
                                           CLIENT_ELEMENTS_MAX, &error);
        unreadable = !*ret_reply;
    }
    if (unreadable)
        code = STUB_INTERNAL;
    if (unary->link.intercepted)
        outgoing_after(unary->channel, unary->method, &unary->link, code,
                       unreadable ? error.text : status_source_text(&unary->arena, &unary->source));
    if (!ret_status)
        return code;
    status_fill_owned(ret_status, &unary->source);
    if (unreadable)
        status_override(ret_status, status_arena(ret_status), code, error.text);
    return code;
}

int stub_unary(struct stub_channel *channel, const struct stub_method *method,
               const struct stub_call_options *options, const ProtobufCMessage *request,
               ProtobufCMessage **ret_reply, struct stub_status *ret_status)
{
    ProtobufCMessage *reply = NULL;
    struct unary *unary;
    bool started;
    int code;

    CHECK(channel && method && method->kind == STUB_KIND_UNARY);
    if (core_is_forked())
        return collect_forked(ret_reply, ret_status);
    unary = unary_take(channel, method);
    CHECK(!pthread_equal(pthread_self(), channel->thread)); /* it would wait for itself */
    started = unary_start(unary, options, request);
    if (started) {
        pthread_mutex_lock(&unary->lock);
        while (unary->life != UNARY_OVER)
            pthread_cond_wait(&unary->changed, &unary->lock);
        pthread_mutex_unlock(&unary->lock);
        tls_reason_append(channel->reason, &unary->link, &unary->source, true);
    }
    code = collect(unary, &reply, ret_status);
    if (ret_reply)
        *ret_reply = reply;
    else if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
    if (started)
        channel_end(channel, &unary->link);
    unary_give_back(unary);
    if (started)
        channel_unref(channel);
    return code;
}
