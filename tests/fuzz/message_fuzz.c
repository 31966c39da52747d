/*
 * The bytes of a request: the first byte says of which type, the others are the message.
 *
 * What must hold of whatever comes: a message that is taken has no text that C would cut, keeps
 * within its memory, and packs to bytes that are taken again and are the same from then on; bytes
 * in several pieces are judged as bytes in one; and a refusal has words.
 */
#include "stub/message.h"

#include <echo/echo.stub.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <grpc/byte_buffer.h>
#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1/reflection.pb-c.h>
#include <holdfast/v1/admin_service.stub.h>
#include <holdfast/v1/quota_service.stub.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENTS_MAX = 2000, MEMORY_MIN = 1 << 20, MEMORY_PER_BYTE = 8, TYPES_MAX = 64 };

static const ProtobufCMessageDescriptor *types[TYPES_MAX];
static size_t types_count;

static void add_service(const struct stub_method *methods, size_t count)
{
    for (size_t i = 0; i < count; i++)
        types[types_count++] = methods[i].request;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The order is part of the corpus: what is new comes last. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    types[types_count++] = &test__echo__v1__echo_request__descriptor;
    types[types_count++] = &google__rpc__status__descriptor;
    types[types_count++] = &google__rpc__bad_request__descriptor;
    types[types_count++] = &google__rpc__error_info__descriptor;
    types[types_count++] = &grpc__health__v1__health_check_request__descriptor;
    types[types_count++] = &grpc__reflection__v1__server_reflection_request__descriptor;
    add_service(holdfast_v1_quota_service_service.methods,
                holdfast_v1_quota_service_service.methods_count);
    add_service(holdfast_v1_admin_service_service.methods,
                holdfast_v1_admin_service_service.methods_count);
    CHECK(types_count <= TYPES_MAX);
    grpc_init();
    return 0;
}

static grpc_byte_buffer *to_buffer(const uint8_t *data, size_t bytes, size_t pieces)
{
    grpc_slice slices[3];
    grpc_byte_buffer *buffer;
    size_t at = 0;

    for (size_t i = 0; i < pieces; i++) {
        size_t n = i + 1 < pieces ? bytes / pieces : bytes - at;

        slices[i] = grpc_slice_from_copied_buffer((const char *)data + at, n);
        at += n;
    }
    buffer = grpc_raw_byte_buffer_create(slices, pieces);
    for (size_t i = 0; i < pieces; i++)
        grpc_slice_unref(slices[i]);
    return buffer;
}

static ProtobufCMessage *decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                                const uint8_t *data, size_t bytes, size_t pieces,
                                struct message_error *error)
{
    grpc_byte_buffer *buffer = to_buffer(data, bytes, pieces);
    ProtobufCMessage *message = message_decode(arena, type, buffer, ELEMENTS_MAX, error);

    grpc_byte_buffer_destroy(buffer);
    return message;
}

/* Packs into memory of exactly that size, so that one byte too many is seen. */
static uint8_t *pack(const ProtobufCMessage *message, size_t *ret_bytes)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(bytes ? bytes : 1);

    CHECK(packed);
    CHECK(protobuf_c_message_pack(message, packed) == bytes);
    *ret_bytes = bytes;
    return packed;
}

static void check_taken(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *message)
{
    struct arena arena;
    struct message_error error;
    size_t bytes, again_bytes;
    uint8_t *packed = pack(message, &bytes), *again;
    ProtobufCMessage *second;

    arena_init(&arena, 4096, SIZE_MAX / 2);
    second = decode(&arena, type, packed, bytes, 1, &error);
    CHECK(second);
    again = pack(second, &again_bytes);
    CHECK(again_bytes == bytes && memcmp(again, packed, bytes) == 0);
    free(again);
    free(packed);
    arena_done(&arena);
}

static void check_refused(const struct message_error *error)
{
    CHECK(error->reject.text == error->text && *error->text);
    CHECK(error->reject.field == error->wire.field);
    CHECK(strlen(error->wire.field) < WIRE_FIELD_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const ProtobufCMessageDescriptor *type;
    struct message_error error, pieces_error;
    struct arena arena;
    ProtobufCMessage *message, *in_pieces;
    size_t budget;

    if (bytes == 0)
        return 0;
    type = types[data[0] % types_count];
    data++, bytes--;
    arena_init(&arena, 4096, SIZE_MAX / 2);
    message = decode(&arena, type, data, bytes, 1, &error);
    budget = bytes * MEMORY_PER_BYTE > MEMORY_MIN ? bytes * MEMORY_PER_BYTE : MEMORY_MIN;
    CHECK(arena_used(&arena) <= budget);
    if (message)
        check_taken(type, message);
    else
        check_refused(&error);
    in_pieces = decode(&arena, type, data, bytes, 3, &pieces_error);
    CHECK(!message == !in_pieces);
    if (!message)
        CHECK(error.reject.kind == pieces_error.reject.kind &&
              strcmp(error.text, pieces_error.text) == 0);
    arena_done(&arena);
    return 0;
}
