#include "stub/channel.h"

#include "stub/message.h"

#include <google/protobuf/any.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *slice_text(struct arena *arena, grpc_slice slice)
{
    char *text =
        arena_strndup(arena, (const char *)GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));

    CHECK(text);
    return text;
}

static const struct stub_metadata *copy_metadata(struct arena *arena,
                                                 const grpc_metadata_array *array)
{
    struct stub_metadata *copy;

    if (array->count == 0)
        return NULL;
    copy = arena_array(arena, array->count, sizeof(*copy));
    CHECK(copy);
    for (size_t i = 0; i < array->count; i++) {
        copy[i].key = slice_text(arena, array->metadata[i].key);
        copy[i].value = slice_text(arena, array->metadata[i].value);
        copy[i].value_bytes = GRPC_SLICE_LENGTH(array->metadata[i].value);
    }
    return copy;
}

static const Google__Rpc__Status *parse_details(struct arena *arena,
                                                const grpc_metadata_array *trailing)
{
    struct message_error error;

    for (size_t i = 0; i < trailing->count; i++) {
        const Google__Rpc__Status *status = NULL;
        grpc_byte_buffer *buffer;
        grpc_slice value = trailing->metadata[i].value;

        if (grpc_slice_str_cmp(trailing->metadata[i].key, "grpc-status-details-bin") != 0)
            continue;
        buffer = grpc_raw_byte_buffer_create(&value, 1);
        status = (const Google__Rpc__Status *)(void *)message_decode(
            arena, &google__rpc__status__descriptor, buffer, CLIENT_ELEMENTS_MAX, &error);
        grpc_byte_buffer_destroy(buffer);
        return status;
    }
    return NULL;
}

void status_source_init(struct status_source *source)
{
    source->code = GRPC_STATUS_INTERNAL;
    source->text = grpc_empty_slice();
    grpc_metadata_array_init(&source->initial);
    grpc_metadata_array_init(&source->trailing);
}

void status_source_done(struct status_source *source)
{
    grpc_slice_unref(source->text);
    grpc_metadata_array_destroy(&source->initial);
    grpc_metadata_array_destroy(&source->trailing);
}

void status_source_refuse(struct status_source *source, const struct message_refusal *refusal)
{
    char text[sizeof(refusal->text) + 16];

    snprintf(text, sizeof(text), "the request: %s", refusal->text);
    source->code = (grpc_status_code)refusal->code;
    source->text = grpc_slice_from_copied_string(text);
}

const char *status_source_text(struct arena *arena, const struct status_source *source)
{
    return slice_text(arena, source->text);
}

void status_fill(struct stub_status *status, struct arena *arena,
                 const struct status_source *source)
{
    void *memory = status->memory;

    *status = (struct stub_status){
        .code = (int)source->code,
        .message = status_source_text(arena, source),
        .initial = copy_metadata(arena, &source->initial),
        .initial_count = source->initial.count,
        .trailing = copy_metadata(arena, &source->trailing),
        .trailing_count = source->trailing.count,
        .memory = memory,
    };
    if (source->code != GRPC_STATUS_OK)
        status->details = parse_details(arena, &source->trailing);
}

void status_fill_owned(struct stub_status *status, const struct status_source *source)
{
    struct arena *arena;

    stub_status_clear(status);
    arena = malloc(sizeof(*arena));
    CHECK(arena);
    arena_init(arena, 512, SIZE_MAX / 2);
    status->memory = arena;
    status_fill(status, arena, source);
}

struct arena *status_arena(struct stub_status *status)
{
    return status->memory;
}

void status_override(struct stub_status *status, struct arena *arena, int code, const char *text)
{
    char *copy = arena_strndup(arena, text, strlen(text));

    CHECK(copy);
    status->code = code;
    status->message = copy;
}

void stub_status_clear(struct stub_status *status)
{
    CHECK(status);
    if (status->memory) {
        arena_done(status->memory);
        free(status->memory);
    }
    *status = (struct stub_status){.message = ""};
}

static const char *find_value(const struct stub_metadata *list, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].key, key) == 0)
            return list[i].value;
    }
    return NULL;
}

const char *stub_status_metadata(const struct stub_status *status, const char *key)
{
    const char *value;

    CHECK(status && key);
    value = find_value(status->initial, status->initial_count, key);
    return value ? value : find_value(status->trailing, status->trailing_count, key);
}

/* Checked as every message that comes in: the server may be anyone. */
static ProtobufCMessage *unpack_any(const Google__Protobuf__Any *any,
                                    const ProtobufCMessageDescriptor *type)
{
    grpc_slice slice = grpc_slice_from_static_buffer(any->value.data, any->value.len);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    struct message_error error;
    ProtobufCMessage *message = message_decode_malloc(type, buffer, CLIENT_ELEMENTS_MAX, &error);

    grpc_byte_buffer_destroy(buffer);
    return message;
}

ProtobufCMessage *stub_status_detail(const struct stub_status *status,
                                     const ProtobufCMessageDescriptor *type)
{
    CHECK(status && type);
    for (size_t i = 0; status->details && i < status->details->n_details; i++) {
        const Google__Protobuf__Any *any = status->details->details[i];
        const char *slash = strrchr(any->type_url, '/');

        if (slash && strcmp(slash + 1, type->name) == 0)
            return unpack_any(any, type);
    }
    return NULL;
}
