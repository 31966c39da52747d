#include "stub/message.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MEMORY_MIN = 1 << 20, MEMORY_PER_BYTE = 8 };

/* Where unpacking gets its memory from, and how much of it is left to have. */
struct budget {
    struct arena *arena;
    size_t left;
    bool exceeded;
};

static void *budget_alloc(void *user, size_t size)
{
    struct budget *budget = user;
    size_t rounded = (size + 15) & ~(size_t)15;

    if (rounded < size || rounded > budget->left) {
        budget->exceeded = true;
        return NULL;
    }
    budget->left -= rounded;
    return arena_alloc(budget->arena, size);
}

static void budget_free(void *user, void *pointer)
{
    (void)user, (void)pointer; /* all at once, with the arena */
}

static void set_error(struct message_error *error, enum stub_reject_kind kind, const char *what)
{
    const char *field = error->wire.field;

    error->reject = (struct stub_reject){.kind = kind, .field = field, .text = error->text};
    snprintf(error->text, sizeof(error->text), "%s %s", *field ? field : "the message", what);
}

const struct message_error *message_error_copy(struct arena *arena,
                                               const struct message_error *error)
{
    struct message_error *copy = arena_alloc(arena, sizeof(*copy));

    CHECK(copy);
    *copy = *error;
    copy->reject.field = copy->wire.field;
    copy->reject.text = copy->text;
    return copy;
}

static enum stub_reject_kind reject_kind(enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_OK:
    case WIRE_MALFORMED:
        return STUB_REJECT_MALFORMED;
    case WIRE_UTF8:
        return STUB_REJECT_UTF8;
    case WIRE_NUL:
        return STUB_REJECT_NUL;
    case WIRE_DEPTH:
    case WIRE_ELEMENTS:
        return STUB_REJECT_BOUND;
    }
    UNREACHABLE();
}

/* The payload's bytes in one piece: where they lie if they do, else copied into the arena. */
static bool flatten(struct arena *arena, const grpc_byte_buffer *payload, const uint8_t **ret_data,
                    size_t *ret_bytes)
{
    const grpc_slice_buffer *slices = &payload->data.raw.slice_buffer;
    uint8_t *copy;
    size_t at = 0;

    *ret_bytes = slices->length;
    if (slices->count == 0) {
        *ret_data = (const uint8_t *)"";
        return true;
    }
    if (slices->count == 1) {
        *ret_data = GRPC_SLICE_START_PTR(slices->slices[0]);
        return true;
    }
    copy = arena_alloc(arena, slices->length);
    if (!copy)
        return false;
    for (size_t i = 0; i < slices->count; i++) {
        memcpy(copy + at, GRPC_SLICE_START_PTR(slices->slices[i]),
               GRPC_SLICE_LENGTH(slices->slices[i]));
        at += GRPC_SLICE_LENGTH(slices->slices[i]);
    }
    *ret_data = copy;
    return true;
}

static bool check_bytes(struct arena *arena, const ProtobufCMessageDescriptor *type,
                        const grpc_byte_buffer *payload, int64_t elements_max,
                        struct message_error *error, const uint8_t **ret_data, size_t *ret_bytes)
{
    enum wire_verdict verdict;

    error->wire.field[0] = '\0';
    if (!payload) {
        set_error(error, STUB_REJECT_MISSING, "is missing");
        return false;
    }
    if (!flatten(arena, payload, ret_data, ret_bytes)) {
        set_error(error, STUB_REJECT_BOUND, "is too large");
        return false;
    }
    verdict = wire_check(type, *ret_data, *ret_bytes, elements_max, &error->wire);
    if (verdict == WIRE_OK)
        return true;
    set_error(error, reject_kind(verdict), wire_verdict_text(verdict));
    return false;
}

ProtobufCMessage *message_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                                 const grpc_byte_buffer *payload, int64_t elements_max,
                                 struct message_error *ret_error)
{
    struct budget budget = {.arena = arena};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    ProtobufCMessage *message;
    const uint8_t *data;
    size_t bytes;

    if (!check_bytes(arena, type, payload, elements_max, ret_error, &data, &bytes))
        return NULL;
    budget.left = bytes * MEMORY_PER_BYTE > MEMORY_MIN ? bytes * MEMORY_PER_BYTE : MEMORY_MIN;
    message = protobuf_c_message_unpack(type, &allocator, bytes, data);
    if (!message && budget.exceeded)
        set_error(ret_error, STUB_REJECT_BOUND, "needs too much memory");
    else if (!message)
        set_error(ret_error, STUB_REJECT_MALFORMED, "lacks a required field");
    return message;
}

ProtobufCMessage *message_decode_malloc(const ProtobufCMessageDescriptor *type,
                                        const grpc_byte_buffer *payload, int64_t elements_max,
                                        struct message_error *ret_error)
{
    ProtobufCMessage *message = NULL;
    struct arena scratch;
    const uint8_t *data;
    size_t bytes;

    arena_init(&scratch, 4096, SIZE_MAX / 2);
    if (check_bytes(&scratch, type, payload, elements_max, ret_error, &data, &bytes)) {
        message = protobuf_c_message_unpack(type, NULL, bytes, data);
        if (!message)
            set_error(ret_error, STUB_REJECT_MALFORMED, "cannot be unpacked");
    }
    arena_done(&scratch);
    return message;
}
