/*
 * grpc.reflection v1 and v1alpha. The two differ in nothing but the package: same messages, same
 * numbers, so the same C layout. The one implementation reads and writes v1's structs and serves both.
 *
 * A file is answered with itself first, since clients take the first one as the answer, and then with
 * all that it imports.
 */
#include "stub/runtime.h"

#include <google/rpc/error_details.stub.h>
#include <google/rpc/status.stub.h>
#include <grpc/reflection/v1/reflection.stub.h>
#include <grpc/reflection/v1alpha/reflection.stub.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;

_Static_assert(sizeof(request_message) ==
                   sizeof(Grpc__Reflection__V1alpha__ServerReflectionRequest),
               "v1 and v1alpha have one layout");

/* In the arena of its call. */
struct reflection_stream {
    struct stub_call *call;
    const struct stub_server *server;
    bool finished;
};

/* --- answers to one request ---------------------------------------------------------------------- */

static void send_error(struct stub_call *call, response_message *response, int code, char *text)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;

    error.error_code = code;
    error.error_message = text;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = &error;
    answer_send_unchecked(call, &response->base);
}

static int compare_names(const void *a, const void *b)
{
    const Grpc__Reflection__V1__ServiceResponse *const *left = a;
    const Grpc__Reflection__V1__ServiceResponse *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

static void send_services(const struct reflection_stream *stream, response_message *response)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    size_t count = stream->server->services_count;
    Grpc__Reflection__V1__ServiceResponse *items = calloc(count, sizeof(*items));

    list.service = calloc(count, sizeof(*list.service));
    CHECK(items && list.service);
    for (size_t i = 0; i < count; i++) {
        union {
            const char *in;
            char *out; /* protobuf-c's struct lacks the const; packing only reads */
        } name = {stream->server->services[i]->name};

        grpc__reflection__v1__service_response__init(&items[i]);
        items[i].name = name.out;
        list.service[i] = &items[i];
    }
    list.n_service = count;
    qsort(list.service, count, sizeof(*list.service), compare_names);
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &list;
    answer_send_unchecked(stream->call, &response->base);
    free(items);
    free(list.service);
}

/* Adds the file and what it imports, each once. */
static size_t collect(const struct stub_file *file, const struct stub_file **list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == file)
            return count;
    }
    list[count++] = file;
    for (size_t i = 0; i < file->dependencies_count; i++)
        count = collect(file->dependencies[i], list, count);
    return count;
}

static void send_file(const struct reflection_stream *stream, response_message *response,
                      const struct stub_file *file)
{
    Grpc__Reflection__V1__FileDescriptorResponse files =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    const struct stub_file **list = calloc(stream->server->files_count, sizeof(*list));
    size_t count;

    CHECK(list);
    count = collect(file, list, 0);
    files.file_descriptor_proto = calloc(count, sizeof(*files.file_descriptor_proto));
    CHECK(files.file_descriptor_proto);
    for (size_t i = 0; i < count; i++) {
        union {
            const uint8_t *in;
            uint8_t *out;
        } bytes = {list[i]->bytes};

        files.file_descriptor_proto[i] = (ProtobufCBinaryData){list[i]->bytes_count, bytes.out};
    }
    files.n_file_descriptor_proto = count;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response->file_descriptor_response = &files;
    answer_send_unchecked(stream->call, &response->base);
    free(files.file_descriptor_proto);
    free(list);
}

/* --- look-up -------------------------------------------------------------------------------------- */

static const struct stub_file *file_by_name(const struct stub_server *server, const char *name)
{
    for (size_t i = 0; i < server->files_count; i++) {
        if (strcmp(server->files[i]->name, name) == 0)
            return server->files[i];
    }
    return NULL;
}

static int compare_symbol(const void *key, const void *item)
{
    const char *const *symbol = item;

    return strcmp(key, *symbol);
}

static const struct stub_file *file_by_symbol(const struct stub_server *server, const char *symbol)
{
    for (size_t i = 0; i < server->files_count; i++) {
        const struct stub_file *file = server->files[i];

        if (file->symbols_count && bsearch(symbol, file->symbols, file->symbols_count,
                                           sizeof(*file->symbols), compare_symbol))
            return file;
    }
    return NULL;
}

/* --- the stream ----------------------------------------------------------------------------------- */

static void answer_request(const struct reflection_stream *stream, request_message *request)
{
    response_message response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    const struct stub_file *file = NULL;
    char unknown[] = "not found";
    char extensions[] = "no file here has extensions";
    char empty[] = "the request asks for nothing that is known here";

    response.valid_host = request->host;
    response.original_request = request;
    switch ((int)request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        send_services(stream, &response);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        file = file_by_name(stream->server, request->file_by_filename);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        file = file_by_symbol(stream->server, request->file_containing_symbol);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        send_error(stream->call, &response, STUB_NOT_FOUND, extensions);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
        send_error(stream->call, &response, STUB_INVALID_ARGUMENT, empty);
        return;
    }
    if (file)
        send_file(stream, &response, file);
    else
        send_error(stream->call, &response, STUB_NOT_FOUND, unknown);
}

static void stream_end(void *user)
{
    struct reflection_stream *stream = user;

    if (stream->finished)
        return;
    stream->finished = true;
    stub_call_finish(stream->call);
}

static void stream_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    union {
        const ProtobufCMessage *in;
        request_message *out; /* goes back to the client as original_request */
    } request = {message};

    (void)call;
    if (message)
        answer_request(user, request.out);
    else
        stream_end(user);
}

static void handle_info(void *user, struct stub_call *call)
{
    struct reflection_stream *stream = stub_call_alloc(call, sizeof(*stream));

    *stream = (struct reflection_stream){.call = call, .server = user};
    stub_call_on_closed(call, stream_end, stream);
    stub_call_on_message(call, stream_message, stream);
}

bool stub_reflection_register(struct stub_server *server)
{
    static const struct grpc_reflection_v1_server_reflection_handlers v1 = {
        .server_reflection_info = handle_info,
    };
    static const struct grpc_reflection_v1alpha_server_reflection_handlers v1alpha = {
        .server_reflection_info = handle_info,
    };

    CHECK(server);
    stub_server_add_file(server, &google_rpc_error_details_proto_file);
    stub_server_add_file(server, &google_rpc_status_proto_file);
    return grpc_reflection_v1_server_reflection_register(server, &v1, server) &&
           grpc_reflection_v1alpha_server_reflection_register(server, &v1alpha, server);
}
