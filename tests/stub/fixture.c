#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

struct fixture fixture_start(const struct echo_options *options)
{
    static const struct echo_options defaults;
    char error[256] = "";
    struct fixture fixture;

    fixture.echo = echo_start(options ? options : &defaults, error, sizeof(error));
    cr_assert(fixture.echo, "%s", error);
    fixture.channel = stub_channel_create(echo_target(fixture.echo), NULL);
    return fixture;
}

void fixture_stop(struct fixture *fixture)
{
    stub_channel_destroy(fixture->channel);
    cr_assert(echo_stop(fixture->echo, 2000), "a call was left without an answer");
}

static void *rig_thread(void *user)
{
    struct rig *rig = user;

    while (stub_server_next(rig->server, -1, rig) != STUB_NEXT_SHUTDOWN)
        ;
    return NULL;
}

void rig_start(struct rig *rig, const struct test_echo_v1_echo_service_handlers *handlers,
               void *user, const struct stub_interceptor *interceptor)
{
    const char *listen = "127.0.0.1:0";
    struct stub_server_options options = {.listen = &listen, .listen_count = 1};
    char error[256] = "";

    rig->server = stub_server_create(&options, error, sizeof(error));
    cr_assert(rig->server, "%s", error);
    if (interceptor)
        stub_server_intercept(rig->server, interceptor);
    cr_assert(test_echo_v1_echo_service_register(rig->server, handlers, user));
    cr_assert(stub_server_start(rig->server));
    snprintf(rig->target, sizeof(rig->target), "127.0.0.1:%d", stub_server_port(rig->server, 0));
    rig->channel = stub_channel_create(rig->target, NULL);
    cr_assert(pthread_create(&rig->worker, NULL, rig_thread, rig) == 0);
}

static bool rig_is_idle(void *user)
{
    return stub_server_calls(user) == 0;
}

void rig_stop(struct rig *rig)
{
    stub_channel_destroy(rig->channel);
    stub_server_drain(rig->server);
    cr_assert(eventually(rig_is_idle, rig->server), "a call is left");
    stub_server_stop(rig->server);
    pthread_join(rig->worker, NULL);
    stub_server_destroy(rig->server);
}

bool eventually(bool (*fn)(void *user), void *user)
{
    for (int i = 0; i < 5000; i++) {
        if (fn(user))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return fn(user);
}

/* Without fields protobuf-c packs nothing but unknown fields, and those as they stand. */
static const ProtobufCMessageDescriptor raw_type = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "raw",
    .short_name = "raw",
    .c_name = "Raw",
    .package_name = "",
    .sizeof_message = sizeof(ProtobufCMessage),
};

/* The first byte is the key of the unknown field, all the rest is its content. */
int raw_echo(struct stub_channel *channel, const void *data, size_t bytes, struct stub_status *st)
{
    const uint8_t *bytes_in = data;
    union {
        const uint8_t *in;
        uint8_t *out;
    } rest;
    ProtobufCMessageUnknownField field;
    ProtobufCMessage message = {.descriptor = &raw_type};
    struct stub_method method = test_echo_v1_echo_service_methods[0];
    ProtobufCMessage *reply;
    int code;

    method.request = &raw_type;
    if (bytes > 0) {
        cr_assert(bytes_in[0] < 0x80, "keys of one byte only");
        rest.in = bytes_in + 1;
        field = (ProtobufCMessageUnknownField){
            .tag = bytes_in[0] >> 3,
            .wire_type = (ProtobufCWireType)(bytes_in[0] & 7),
            .len = bytes - 1,
            .data = rest.out,
        };
        message.n_unknown_fields = 1;
        message.unknown_fields = &field;
    }
    code = stub_unary(channel, &method, NULL, &message, &reply, st);
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
    return code;
}
