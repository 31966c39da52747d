/* Messages on their way out: looked through for what no receiver would take, then packed. */
#include "stub/message.h"

#include <grpc/slice.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 100 }; /* as most receivers; a message that contains itself ends there */

static bool refuse(struct message_refusal *refusal, const char *field, const char *what)
{
    refusal->code = STUB_INTERNAL;
    snprintf(refusal->text, sizeof(refusal->text), "%.*s %s", WIRE_FIELD_MAX,
             *field ? field : "the message", what);
    return false;
}

/* The field's name goes in front of what is known of the way to the fault. */
static bool refuse_below(struct message_refusal *refusal, const char *field)
{
    size_t bytes = strlen(field) + 1, old = strlen(refusal->text) + 1;

    if (bytes + old > sizeof(refusal->text))
        return false; /* far down: the last part of the way is said */
    memmove(refusal->text + bytes, refusal->text, old);
    memcpy(refusal->text, field, bytes - 1);
    refusal->text[bytes - 1] = '.';
    return false;
}

static bool same_type(const ProtobufCMessage *message, const ProtobufCMessageDescriptor *type)
{
    const ProtobufCMessageDescriptor *own = message->descriptor;

    /* A program and a shared object may have one each. */
    return own == type || (own && own->magic == PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC &&
                           strcmp(own->name, type->name) == 0);
}

/* One walk through a message. */
struct walk {
    bool texts; /* these are looked at, too */
    int depth;  /* that is left */
    struct message_refusal *refusal;
};

static bool check_fields(struct walk *walk, const ProtobufCMessage *message);

/* A text or a message. */
static bool check_item(struct walk *walk, const ProtobufCFieldDescriptor *field, const void *item)
{
    bool ok;

    if (!item)
        return true; /* not set */
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return !walk->texts || wire_text_valid(item, strlen(item)) ||
               refuse(walk->refusal, field->name, "is not valid UTF-8");
    if (!same_type(item, field->descriptor))
        return refuse(walk->refusal, field->name,
                      "is a message of another type, or not initialised");
    if (walk->depth == 0)
        return refuse(walk->refusal, field->name, "is nested too deep");
    walk->depth--;
    ok = check_fields(walk, item);
    walk->depth++;
    return ok || refuse_below(walk->refusal, field->name);
}

static bool check_bytes(struct walk *walk, const ProtobufCFieldDescriptor *field,
                        const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 || bytes->data ||
           refuse(walk->refusal, field->name, "has a length, and no bytes");
}

static bool has_pointers(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING;
}

static bool check_repeated(struct walk *walk, const ProtobufCMessage *message,
                           const ProtobufCFieldDescriptor *field)
{
    const char *start = (const char *)message;
    const void *items;
    size_t count;

    memcpy(&items, start + field->offset, sizeof(items));
    memcpy(&count, start + field->quantifier_offset, sizeof(count));
    if (count > 0 && !items)
        return refuse(walk->refusal, field->name, "has a number of elements, and no elements");
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        for (size_t i = 0; i < count; i++)
            if (!check_bytes(walk, field, (const ProtobufCBinaryData *)items + i))
                return false;
        return true;
    }
    for (size_t i = 0; has_pointers(field) && i < count; i++) {
        const void *item = ((const void *const *)items)[i];

        if (!item)
            return refuse(walk->refusal, field->name, "has an element that is NULL");
        if (!check_item(walk, field, item))
            return false;
    }
    return true;
}

/* A field that is not repeated: is it set as far as a number beside it says so? */
static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *quantifier = (const char *)message + field->quantifier_offset;
    protobuf_c_boolean has;
    uint32_t chosen;

    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        memcpy(&chosen, quantifier, sizeof(chosen));
        return chosen == field->id;
    }
    if (field->label != PROTOBUF_C_LABEL_OPTIONAL || has_pointers(field))
        return true;
    memcpy(&has, quantifier, sizeof(has));
    return has;
}

static bool check_field(struct walk *walk, const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
    const char *member = (const char *)message + field->offset;
    const void *item;

    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return check_repeated(walk, message, field);
    if (!is_set(message, field))
        return true;
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return check_bytes(walk, field, (const ProtobufCBinaryData *)(const void *)member);
    memcpy(&item, member, sizeof(item));
    return check_item(walk, field, item);
}

/* A number alone is always good. */
static bool check_fields(struct walk *walk, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];

        if ((field->label == PROTOBUF_C_LABEL_REPEATED || field->type == PROTOBUF_C_TYPE_BYTES ||
             has_pointers(field)) &&
            !check_field(walk, message, field))
            return false;
    }
    return true;
}

static bool encode(struct walk *walk, const ProtobufCMessageDescriptor *type,
                   const ProtobufCMessage *message, grpc_slice *ret_slice)
{
    size_t bytes;

    if (!message)
        return refuse(walk->refusal, "", "is missing");
    if (!same_type(message, type))
        return refuse(walk->refusal, "", "is of another type, or not initialised");
    if (!check_fields(walk, message))
        return false;
    bytes = protobuf_c_message_get_packed_size(message);
    if (bytes > INT_MAX) {
        refuse(walk->refusal, "", "is too large");
        walk->refusal->code = STUB_RESOURCE_EXHAUSTED;
        return false;
    }
    *ret_slice = grpc_slice_malloc(bytes);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(*ret_slice));
    return true;
}

bool message_encode(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *message,
                    grpc_slice *ret_slice, struct message_refusal *ret_refusal)
{
    struct walk walk = {true, DEPTH_MAX, ret_refusal};

    return encode(&walk, type, message, ret_slice);
}

bool message_encode_request(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *message,
                            grpc_slice *ret_slice, struct message_refusal *ret_refusal)
{
    struct walk walk = {false, DEPTH_MAX, ret_refusal};

    return encode(&walk, type, message, ret_slice);
}
