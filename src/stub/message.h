/*
 * Messages between gRPC's slices and protobuf-c's structs. Inside the runtime only; any thread.
 */
#ifndef HOLDFAST_STUB_MESSAGE_H
#define HOLDFAST_STUB_MESSAGE_H

#include "base/arena.h"
#include "stub/call.h"
#include "stub/wire.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

/* What is wrong with a message; text and field are inside. */
struct message_error {
    struct stub_reject reject; /* method is left for the caller */
    struct wire_error wire;
    char text[WIRE_FIELD_MAX + 128];
};

/*
 * Checks and unpacks into the arena: at most max(1 MiB, 8 times the bytes) of it. payload may be NULL
 * (STUB_REJECT_MISSING) and stays the caller's. NULL: *ret_error says why.
 */
ProtobufCMessage *message_decode(struct arena *arena, const ProtobufCMessageDescriptor *type,
                                 const grpc_byte_buffer *payload, int64_t elements_max,
                                 struct message_error *ret_error);

/* A copy in the arena. */
const struct message_error *message_error_copy(struct arena *arena,
                                               const struct message_error *error);

/* The same with malloc, for a message that the caller of the runtime keeps. */
ProtobufCMessage *message_decode_malloc(const ProtobufCMessageDescriptor *type,
                                        const grpc_byte_buffer *payload, int64_t elements_max,
                                        struct message_error *ret_error);

/* Why a message cannot be sent: a sentence, and the status that a call ends with for it. */
struct message_refusal {
    int code; /* RESOURCE_EXHAUSTED: larger than gRPC can carry; else INTERNAL, a bug of the sender */
    char text[WIRE_FIELD_MAX + 128];
};

/*
 * Packs a message of this type. False: *ret_refusal says why. The message is NULL, not initialised, of
 * another type or too large; or somewhere in it a text is not UTF-8, a submessage is of another type, or
 * something is NULL that its count or length says is there. On success *ret_refusal is not written, and the
 * caller unrefs the slice.
 */
MUST_CHECK bool message_encode(const ProtobufCMessageDescriptor *type,
                               const ProtobufCMessage *message, grpc_slice *ret_slice,
                               struct message_refusal *ret_refusal);

/* The same for a request. Its texts are not checked: the server does it, and its answer says more. */
MUST_CHECK bool message_encode_request(const ProtobufCMessageDescriptor *type,
                                       const ProtobufCMessage *message, grpc_slice *ret_slice,
                                       struct message_refusal *ret_refusal);

#endif
