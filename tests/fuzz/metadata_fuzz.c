/*
 * Metadata: what a server's trailers do to a client, and a client's headers to a handler.
 *
 * The input is a list of pairs, each with a byte for the key (one of a few that somebody reads, or
 * text of its own), a length, and the value. The first byte is the status code.
 */
#include "stub/channel.h"
#include "stub/runtime.h"

#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_MAX = 24, KEY_BYTES = 12 };

static const char *const keys[] = {
    "grpc-status-details-bin", "traceparent", "holdfast-server", "x-bin", "echo-key",
    "grpc-retry-pushback-ms",  "",            "Not Legal",
};

struct input {
    const uint8_t *at;
    const uint8_t *end;
};

static uint8_t take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static struct slice take_bytes(struct input *in, size_t bytes)
{
    struct slice taken;

    if (bytes > (size_t)(in->end - in->at))
        bytes = (size_t)(in->end - in->at);
    taken = slice_of(in->at, bytes);
    in->at += bytes;
    return taken;
}

/* As slices of their own, so that a step beyond the end is seen. */
static grpc_slice to_slice(struct slice text)
{
    return grpc_slice_from_copied_buffer(text.data, text.len);
}

static void take_pairs(struct input *in, grpc_metadata_array *array)
{
    grpc_metadata_array_init(array);
    array->metadata = gpr_zalloc(PAIRS_MAX * sizeof(*array->metadata));
    array->capacity = PAIRS_MAX;
    while (in->at < in->end && array->count < PAIRS_MAX) {
        grpc_metadata *pair = &array->metadata[array->count++];
        uint8_t which = take(in);
        size_t bytes = take(in);

        if (which & 0x80)
            bytes = bytes << 8 | take(in);
        pair->key = which % 16 < ARRAY_COUNT(keys)
                        ? to_slice(slice_from_cstr(keys[which % ARRAY_COUNT(keys)]))
                        : to_slice(take_bytes(in, which % KEY_BYTES));
        pair->value = to_slice(take_bytes(in, bytes));
    }
}

static void drop_pairs(grpc_metadata_array *array)
{
    for (size_t i = 0; i < array->count; i++) {
        grpc_slice_unref(array->metadata[i].key);
        grpc_slice_unref(array->metadata[i].value);
    }
    grpc_metadata_array_destroy(array);
}

/* --- as a client reads it ------------------------------------------------------------------------ */

static void look_for(const struct stub_status *status, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *detail = stub_status_detail(status, type);

    if (detail) {
        CHECK(detail->descriptor == type);
        protobuf_c_message_free_unpacked(detail, NULL);
    }
}

static void read_status(int code, grpc_metadata_array *trailing)
{
    struct status_source source;
    struct stub_status status = STUB_STATUS_INIT;

    status_source_init(&source);
    source.code = (grpc_status_code)code;
    source.trailing = *trailing;
    status_fill_owned(&status, &source);
    CHECK(status.code == code && status.message && status.trailing_count == trailing->count);
    for (size_t i = 0; i < status.trailing_count; i++) {
        CHECK(status.trailing[i].value[status.trailing[i].value_bytes] == '\0');
        CHECK(stub_status_metadata(&status, status.trailing[i].key));
    }
    CHECK(!stub_status_metadata(&status, "no-such-key-anywhere"));
    look_for(&status, &google__rpc__error_info__descriptor);
    look_for(&status, &google__rpc__bad_request__descriptor);
    look_for(&status, &google__rpc__retry_info__descriptor);
    look_for(&status, &google__rpc__status__descriptor);
    stub_status_clear(&status);
}

/* --- as a handler reads and writes it ------------------------------------------------------------- */

static bool has_control(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
            return true;
    }
    return false;
}

/* Of the key that is looked for, which ends at the first NUL of the one that came. */
static bool is_binary(const char *key)
{
    size_t bytes = strlen(key);

    return bytes >= 4 && strcmp(key + bytes - 4, "-bin") == 0;
}

static void read_call(const grpc_metadata_array *metadata)
{
    struct stub_call call = {.metadata = *metadata};
    size_t bytes;

    arena_init(&call.arena, CALL_ARENA_BYTES, SIZE_MAX / 2);
    for (size_t i = 0; i < metadata->count; i++) {
        char *key = grpc_slice_to_c_string(metadata->metadata[i].key);
        const char *value = stub_call_metadata_bin(&call, key, &bytes);

        CHECK(!value || value[bytes] == '\0');
        CHECK(!value || is_binary(key) || !has_control(value, bytes));
        CHECK(value || strlen(key) != GRPC_SLICE_LENGTH(metadata->metadata[i].key) ||
              has_control((const char *)GRPC_SLICE_START_PTR(metadata->metadata[i].value),
                          GRPC_SLICE_LENGTH(metadata->metadata[i].value)));
        gpr_free(key);
    }
    CHECK(!stub_call_metadata(&call, "no-such-key-anywhere"));
    arena_done(&call.arena);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_set_level(LOG_ERROR);
    grpc_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input in = {data, data + bytes};
    int code = take(&in);
    grpc_metadata_array pairs;

    take_pairs(&in, &pairs);
    read_call(&pairs);
    read_status(code, &pairs);
    drop_pairs(&pairs);
    return 0;
}
