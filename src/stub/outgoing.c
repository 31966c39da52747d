/*
 * What happens on the client right before a call is begun and right after it has ended: its metadata
 * are put together, and the channel's interceptors see it.
 */
#include "stub/channel.h"

#include "base/clock.h"
#include "stub/metadata.h"

#include <stdlib.h>
#include <string.h>

/* The metadata of a call that begins. */
struct stub_outgoing {
    struct arena *arena;
    grpc_metadata *items;
    size_t count;
    size_t capacity;
    size_t bytes, bytes_max; /* as HTTP/2 counts them */
    const char *fault;       /* of the first pair that is not legal, in the arena */
};

static void make_room(struct stub_outgoing *outgoing, size_t more)
{
    size_t capacity = outgoing->count + more;
    grpc_metadata *items;

    if (capacity <= outgoing->capacity)
        return;
    if (capacity < 2 * outgoing->capacity)
        capacity = 2 * outgoing->capacity;
    items = arena_array(outgoing->arena, capacity, sizeof(*items));
    CHECK(items);
    if (outgoing->count > 0)
        memcpy(items, outgoing->items, outgoing->count * sizeof(*items));
    outgoing->items = items;
    outgoing->capacity = capacity;
}

static void set_fault(struct stub_outgoing *outgoing, const char *key, const char *what)
{
    if (outgoing->fault)
        return;
    outgoing->fault = arena_printf(outgoing->arena, "metadata \"%.200s\": %s", key, what);
    CHECK(outgoing->fault);
}

void stub_outgoing_add_bin(struct stub_outgoing *outgoing, const char *key, const void *data,
                           size_t bytes)
{
    grpc_metadata pair;
    const char *fault;

    CHECK(outgoing);
    if (!key || (!data && bytes > 0)) {
        set_fault(outgoing, key ? key : "", "key or value is NULL");
        return;
    }
    pair = (grpc_metadata){.key = grpc_slice_from_copied_string(key),
                           .value = grpc_slice_from_copied_buffer(data ? data : "", bytes)};
    fault = metadata_fault(pair.key, pair.value);
    outgoing->bytes += metadata_bytes(pair.key, pair.value);
    if (!fault && outgoing->bytes > outgoing->bytes_max)
        fault = "with it they are more than the channel's metadata_bytes_max";
    if (fault)
        set_fault(outgoing, key, fault);
    make_room(outgoing, 1);
    outgoing->items[outgoing->count++] = pair;
}

void stub_outgoing_add(struct stub_outgoing *outgoing, const char *key, const char *value)
{
    CHECK(outgoing);
    if (key && value)
        stub_outgoing_add_bin(outgoing, key, value, strlen(value));
    else
        set_fault(outgoing, key ? key : "", "key or value is NULL");
}

static void run_before(struct stub_channel *channel, const struct stub_method *method,
                       struct client_link *link, struct stub_outgoing *outgoing)
{
    link->intercepted = true;
    link->began_us = clock_mono_us(clock_real());
    for (size_t i = 0; i < channel->interceptors_count; i++) {
        const struct stub_client_interceptor *one = &channel->interceptors[i];

        if (one->before)
            one->before(one->user, method, outgoing);
    }
}

const char *outgoing_fill(struct stub_channel *channel, const struct stub_method *method,
                          struct client_link *link, const struct stub_call_options *options,
                          struct arena *arena, grpc_op *op)
{
    struct stub_outgoing outgoing = {.arena = arena, .bytes_max = channel->metadata_bytes_max};

    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    if (options && options->wait_for_ready)
        op->flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY |
                    GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET;
    if (options)
        make_room(&outgoing, options->metadata_count + options->binary_count);
    for (size_t i = 0; options && i < options->metadata_count; i++)
        stub_outgoing_add(&outgoing, options->metadata[2 * i], options->metadata[2 * i + 1]);
    for (size_t i = 0; options && i < options->binary_count; i++)
        stub_outgoing_add_bin(&outgoing, options->binary[i].key, options->binary[i].value,
                              options->binary[i].value_bytes);
    if (channel->interceptors_count > 0)
        run_before(channel, method, link, &outgoing);
    op->data.send_initial_metadata.count = outgoing.count;
    op->data.send_initial_metadata.metadata = outgoing.items;
    return outgoing.fault;
}

void outgoing_drop(const grpc_op *op)
{
    for (size_t i = 0; i < op->data.send_initial_metadata.count; i++) {
        grpc_slice_unref(op->data.send_initial_metadata.metadata[i].key);
        grpc_slice_unref(op->data.send_initial_metadata.metadata[i].value);
    }
}

void outgoing_after(struct stub_channel *channel, const struct stub_method *method,
                    struct client_link *link, int code, const char *message)
{
    struct stub_client_ended ended = {
        .method = method,
        .code = code,
        .message = message,
        .began_us = link->began_us,
        .ended_us = clock_mono_us(clock_real()),
    };

    link->intercepted = false;
    for (size_t i = channel->interceptors_count; i-- > 0;) {
        const struct stub_client_interceptor *one = &channel->interceptors[i];

        if (one->after)
            one->after(one->user, &ended);
    }
}
