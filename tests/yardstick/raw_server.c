/*
 * The yardstick: Echo and Count of the echo service, written by hand on Core's C API and protobuf-c
 * for one thread, as fast as Core allows. tests/yardstick/compare holds the generated stubs against
 * it: raw_server [ADDRESS] and stub_server [ADDRESS] do the same for a client that behaves.
 *
 * What it does as the stubs do, because anybody who wants speed or safety from Core would:
 *
 *   - registered methods whose request comes with its first message, asked for again as soon as one
 *     has arrived; calls of other methods are answered UNIMPLEMENTED;
 *   - a unary call is one batch of four operations; a stream has RECV_CLOSE posted alone, so that it
 *     learns of a client that goes, and sends with the hint to buffer until the last message;
 *   - call objects are recycled, a request is unpacked into the call's own memory, a reply is packed
 *     into one slice, and the byte buffer around it lies on the stack;
 *   - the same limits on Core's side: size of messages and metadata, streams, compression refused;
 *   - a message that does not unpack is answered INVALID_ARGUMENT; an orderly end.
 *
 * What it leaves out is what the stubs give on top, and their cost: no check of UTF-8, NUL, nesting
 * and memory; no second thread, so no locks or reference counts; no answer from elsewhere or later,
 * no metadata, no deadline, no interceptors, no limit on calls, no metrics.
 */
#include "yardstick/yardstick.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/slice_buffer.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<grpc/credentials.h>)
#include <grpc/credentials.h>
#endif

enum { POSTED = 16, MEMORY_BYTES = 16 << 10 };

struct call;

struct tag {
    void (*run)(struct call *call, bool ok);
    struct call *call;
};

struct method {
    void *core; /* NULL: any other method */
    void (*handle)(struct call *call);
};

struct call {
    struct call *next_free;
    const struct method *method;
    grpc_call *core;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details;
    grpc_byte_buffer *payload;
    struct tag request_tag;
    struct tag send_tag;
    struct tag close_tag;
    int cancelled;
    int pending; /* batches inside Core */

    /* Count */
    int64_t number;
    int64_t to;
    size_t bytes;
    bool initial_sent;
    bool finished;

    size_t memory_used;
    _Alignas(16) char memory[MEMORY_BYTES];
};

static grpc_server *server;
static grpc_completion_queue *cq;
static struct call *free_calls;
static long calls; /* posted or running */
static bool shutting_down;

/* --- memory of a call -------------------------------------------------------------------------- */

static void *memory_alloc(void *user, size_t size)
{
    struct call *call = user;
    size_t rounded = (size + 15) & ~(size_t)15;
    void *piece;

    if (rounded < size || rounded > MEMORY_BYTES - call->memory_used)
        return malloc(size);
    piece = call->memory + call->memory_used;
    call->memory_used += rounded;
    return piece;
}

static void memory_free(void *user, void *pointer)
{
    struct call *call = user;

    if ((char *)pointer < call->memory || (char *)pointer >= call->memory + MEMORY_BYTES)
        free(pointer);
}

/* The request as one piece of bytes, unpacked; NULL: there is none or it is not one. */
static ProtobufCMessage *unpack(struct call *call, const ProtobufCMessageDescriptor *type)
{
    ProtobufCAllocator allocator = {memory_alloc, memory_free, call};
    ProtobufCMessage *message;
    grpc_byte_buffer_reader reader;
    grpc_slice_buffer *slices;
    grpc_slice whole;

    if (!call->payload)
        return NULL;
    slices = &call->payload->data.raw.slice_buffer;
    if (slices->count <= 1)
        return protobuf_c_message_unpack(
            type, &allocator, slices->length,
            slices->count ? GRPC_SLICE_START_PTR(slices->slices[0]) : (const uint8_t *)"");
    if (!grpc_byte_buffer_reader_init(&reader, call->payload))
        return NULL;
    whole = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    message = protobuf_c_message_unpack(type, &allocator, GRPC_SLICE_LENGTH(whole),
                                        GRPC_SLICE_START_PTR(whole));
    grpc_slice_unref(whole);
    return message;
}

/* --- life of a call ---------------------------------------------------------------------------- */

static void request_run(struct call *call, bool ok);

static void call_free(struct call *call)
{
    if (call->core)
        grpc_call_unref(call->core);
    grpc_metadata_array_destroy(&call->metadata);
    if (!call->method->core)
        grpc_call_details_destroy(&call->details);
    if (call->payload)
        grpc_byte_buffer_destroy(call->payload);
    call->next_free = free_calls;
    free_calls = call;
    calls--;
}

static void post(const struct method *method)
{
    struct call *call = free_calls;
    grpc_call_error error;

    if (shutting_down)
        return;
    if (call)
        free_calls = call->next_free;
    else
        call = malloc(sizeof(*call));
    CHECK(call);
    memset(call, 0, offsetof(struct call, memory));
    call->method = method;
    call->request_tag = (struct tag){request_run, call};
    grpc_metadata_array_init(&call->metadata);
    calls++;
    if (method->core) {
        error = grpc_server_request_registered_call(server, method->core, &call->core,
                                                    &call->deadline, &call->metadata,
                                                    &call->payload, cq, cq, &call->request_tag);
    } else {
        grpc_call_details_init(&call->details);
        error = grpc_server_request_call(server, &call->core, &call->details, &call->metadata, cq,
                                         cq, &call->request_tag);
    }
    CHECK(error == GRPC_CALL_OK);
}

static void request_run(struct call *call, bool ok)
{
    if (!ok) {
        call_free(call);
        return;
    }
    post(call->method);
    call->method->handle(call);
}

/* --- batches ----------------------------------------------------------------------------------- */

static void start(struct call *call, struct tag *tag, void (*run)(struct call *call, bool ok),
                  const grpc_op *ops, size_t count)
{
    *tag = (struct tag){run, call};
    call->pending++;
    CHECK(grpc_call_start_batch(call->core, ops, count, tag, NULL) == GRPC_CALL_OK);
}

static void batch_done(struct call *call, bool ok)
{
    (void)ok;
    if (--call->pending == 0)
        call_free(call);
}

static void add_message(grpc_op *op, grpc_byte_buffer *buffer, const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));

    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    *buffer = (grpc_byte_buffer){.type = GRPC_BB_RAW};
    grpc_slice_buffer_init(&buffer->data.raw.slice_buffer);
    grpc_slice_buffer_add(&buffer->data.raw.slice_buffer, slice);
    *op = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
}

static void add_close(struct call *call, grpc_op *op)
{
    *op = (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                    .data.recv_close_on_server.cancelled = &call->cancelled};
}

static void add_status(grpc_op *op, grpc_status_code code, grpc_slice *text)
{
    *op = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    op->data.send_status_from_server.status = code;
    op->data.send_status_from_server.status_details = text;
}

static void fail(struct call *call, grpc_status_code code, const char *message)
{
    grpc_slice text = grpc_slice_from_static_string(message);
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};

    add_status(&ops[1], code, &text);
    add_close(call, &ops[2]);
    start(call, &call->send_tag, batch_done, ops, 3);
}

static void handle_unknown(struct call *call)
{
    fail(call, GRPC_STATUS_UNIMPLEMENTED, "unknown method");
}

/* --- Echo -------------------------------------------------------------------------------------- */

static void handle_echo(struct call *call)
{
    const Test__Echo__V1__EchoRequest *request = (const Test__Echo__V1__EchoRequest *)(void *)
        unpack(call, &test__echo__v1__echo_request__descriptor);
    Test__Echo__V1__EchoResponse response;
    grpc_byte_buffer buffer;
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};

    if (!request) {
        fail(call, GRPC_STATUS_INVALID_ARGUMENT, "the message is malformed");
        return;
    }
    yardstick_echo(request, &response);
    add_message(&ops[1], &buffer, &response.base);
    add_status(&ops[2], GRPC_STATUS_OK, NULL);
    add_close(call, &ops[3]);
    start(call, &call->send_tag, batch_done, ops, 4);
    grpc_slice_buffer_destroy(&buffer.data.raw.slice_buffer);
}

/* --- Count ------------------------------------------------------------------------------------- */

static void count_sent(struct call *call, bool ok);

static void count_on(struct call *call)
{
    Test__Echo__V1__CountResponse response;
    grpc_byte_buffer buffer;
    grpc_op ops[3];
    size_t count = 0;
    bool last = call->number == call->to;
    bool first = !call->initial_sent;

    if (first)
        ops[count++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    call->initial_sent = true;
    if (call->number <= call->to) {
        yardstick_count(call->number++, call->bytes, &response);
        add_message(&ops[count], &buffer, &response.base);
        /* With the hint a batch with initial metadata is not done before something else flushes. */
        if (!last && !first)
            ops[count].flags = GRPC_WRITE_BUFFER_HINT;
        count++;
    } else {
        grpc_slice_buffer_init(&buffer.data.raw.slice_buffer);
        last = true;
    }
    if (last) {
        add_status(&ops[count++], GRPC_STATUS_OK, NULL);
        call->finished = true;
    }
    start(call, &call->send_tag, count_sent, ops, count);
    grpc_slice_buffer_destroy(&buffer.data.raw.slice_buffer);
}

static void count_fail(struct call *call)
{
    grpc_slice text = grpc_slice_from_static_string("the client has gone");
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = !call->initial_sent;

    call->finished = call->initial_sent = true;
    add_status(&ops[count], GRPC_STATUS_CANCELLED, &text);
    start(call, &call->send_tag, batch_done, ops, count + 1);
}

static void count_sent(struct call *call, bool ok)
{
    if (!call->finished) {
        if (ok && !call->cancelled)
            count_on(call);
        else
            count_fail(call);
    }
    batch_done(call, ok);
}

static void handle_count(struct call *call)
{
    const Test__Echo__V1__CountRequest *request = (const Test__Echo__V1__CountRequest *)(void *)
        unpack(call, &test__echo__v1__count_request__descriptor);
    grpc_op close;

    if (!request || request->bytes < 0 || request->bytes > YARDSTICK_BYTES_MAX) {
        fail(call, GRPC_STATUS_INVALID_ARGUMENT, "the message is malformed");
        return;
    }
    call->number = 1;
    call->to = request->to;
    call->bytes = (size_t)request->bytes;
    add_close(call, &close);
    start(call, &call->close_tag, batch_done, &close, 1);
    count_on(call);
}

/* --- the server -------------------------------------------------------------------------------- */

static grpc_arg int_arg(char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = key, .value.integer = value};
}

/* The limits that stub/server.c sets by itself. */
static void create_server(void)
{
    char keys[][64] = {GRPC_ARG_ALLOW_REUSEPORT,
                       GRPC_ARG_ENABLE_CHANNELZ,
                       GRPC_ARG_HTTP2_BDP_PROBE,
                       "grpc.compression_enabled_algorithms_bitset",
                       GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                       GRPC_ARG_MAX_CONCURRENT_STREAMS,
                       GRPC_ARG_MAX_METADATA_SIZE,
                       GRPC_ARG_KEEPALIVE_TIME_MS,
                       GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                       GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS,
                       GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                       GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                       GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA,
                       GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS};
    const int values[] = {0,     0,     0, 1,       4 << 20, 1000, 16 << 10, 60000,
                          20000, 1,     30 * 60000, 10000,   0,    20000};
    grpc_arg list[ARRAY_COUNT(values)];
    grpc_channel_args args = {ARRAY_COUNT(list), list};

    for (size_t i = 0; i < ARRAY_COUNT(list); i++)
        list[i] = int_arg(keys[i], values[i]);
    server = grpc_server_create(&args, NULL);
    cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server, cq, NULL);
}

static struct method register_method(const char *path, void (*handle)(struct call *call))
{
    void *core = grpc_server_register_method(server, path, NULL,
                                             GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);

    CHECK(core);
    return (struct method){core, handle};
}

static void shutdown_run(struct call *call, bool ok)
{
    (void)call, (void)ok;
    shutting_down = true;
}

static struct tag shutdown_tag = {shutdown_run, NULL};

static void *signal_thread(void *user)
{
    int received;

    sigwait(user, &received);
    grpc_server_shutdown_and_notify(server, cq, &shutdown_tag);
    grpc_server_cancel_all_calls(server);
    return NULL;
}

static bool run_one(void)
{
    grpc_event event =
        grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    struct tag *tag = event.tag;

    if (event.type != GRPC_OP_COMPLETE)
        return false;
    tag->run(tag->call, event.success != 0);
    return true;
}

static void listen_at(const char *address)
{
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(server, address, credentials);

    grpc_server_credentials_release(credentials);
    CHECK_MSG(port > 0, "cannot listen on %s", address);
    grpc_server_start(server);
    yardstick_print_target(address, port);
}

static void end(void)
{
    while (calls > 0)
        CHECK(run_one());
    grpc_completion_queue_shutdown(cq);
    while (run_one())
        ;
    grpc_server_destroy(server);
    grpc_completion_queue_destroy(cq);
    while (free_calls) {
        struct call *call = free_calls;

        free_calls = call->next_free;
        free(call);
    }
    grpc_shutdown();
}

int main(int argc, char **argv)
{
    struct method echo, count, unknown = {NULL, handle_unknown};
    sigset_t signals;
    pthread_t thread;

    yardstick_block_signals(&signals);
    grpc_init();
    create_server();
    echo = register_method("/test.echo.v1.EchoService/Echo", handle_echo);
    count = register_method("/test.echo.v1.EchoService/Count", handle_count);
    listen_at(argc > 1 ? argv[1] : "127.0.0.1:0");
    for (int i = 0; i < POSTED; i++)
        post(&echo);
    post(&count);
    for (int i = 0; i < 4; i++)
        post(&unknown);
    CHECK(pthread_create(&thread, NULL, signal_thread, &signals) == 0);
    while (!shutting_down)
        CHECK(run_one());
    pthread_join(thread, NULL);
    end();
    return 0;
}
