/*
 * Serves what is generated from protos/ in one process: services of seven files, without a package,
 * with c_package, with words of C, from proto2, with proto3 `optional`. served_test calls them.
 */
#include "deep/part.stub.h"
#include "oneof.stub.h"
#include "optional.stub.h"
#include "options.stub.h"
#include "plain.stub.h"
#include "proto2.stub.h"
#include "reserved.stub.h"
#include "spread.stub.h"

#include <stdio.h>

static void reserved_int(void *user, struct stub_call *call, const Int__Class__Return *request)
{
    Int__Class__Namespace reply = INT__CLASS__NAMESPACE__INIT;

    (void)user;
    if (request->int_ == 7 && request->default_case == INT__CLASS__RETURN__DEFAULT_TYPENAME)
        int_class_register_int__reply(call, &reply);
    else
        stub_call_fail(call, STUB_INVALID_ARGUMENT, "not seven", NULL, 0);
}

static void reserved_register(void *user, struct stub_call *call, const Int__Class__Return *request)
{
    (void)user;
    int_class_register_register__send(call, request);
    int_class_register_register__send(call, request);
    stub_call_finish(call);
}

static void optional_echo(void *user, struct stub_call *call, const Test__Optional__M *request)
{
    (void)user;
    test_optional_s_register__reply(call, request);
}

static void options_one(void *user, struct stub_call *call, const Short__Name__M *request)
{
    Short__Name__M__Inner reply = SHORT__NAME__M__INNER__INIT;

    (void)user;
    reply.x = request->base;
    short_name_s_one_reply(call, &reply);
}

static void options_each(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    Short__Name__M reply = SHORT__NAME__M__INIT;

    (void)user;
    if (!message) {
        stub_call_finish(call);
        return;
    }
    reply.choice_case = SHORT__NAME__M__CHOICE_TEXT;
    reply.text = ((const Short__Name__M__Inner *)message)->x;
    short_name_s_both_send(call, &reply);
}

static void options_both(void *user, struct stub_call *call)
{
    stub_call_on_message(call, options_each, user);
}

static void oneof_echo(void *user, struct stub_call *call, const Test__Oneof__M *request)
{
    (void)user;
    test_oneof_s_one_reply(call, request);
}

static void plain_thing(void *user, struct stub_call *call, const Ask__Inner *request)
{
    Ask reply = ASK__INIT;

    (void)user;
    reply.x = request->x;
    plain_service_get_httpthing_reply(call, &reply);
}

static void old_ask(void *user, struct stub_call *call, const Test__Old__M *request)
{
    (void)user;
    test_old_some_ask_reply(call, request);
}

static void spread_down(void *user, struct stub_call *call, const Short__PartOfIt *request)
{
    char text[16];
    Ask reply = ASK__INIT;

    (void)user;
    reply.x = text;
    for (int i = 0; i < request->x; i++) {
        snprintf(text, sizeof(text), "down %d", i);
        test_v1_spread_down_send(call, &reply);
    }
    stub_call_finish(call);
}

int main(int argc, char **argv)
{
    const char *listen = argv[argc - 1];
    struct stub_server_options options = {.listen = &listen, .listen_count = 1};
    struct int_class_register_handlers reserved = {.int_ = reserved_int,
                                                   .register_ = reserved_register};
    struct test_optional_s_handlers optional = {.register_ = optional_echo};
    struct short_name_s_handlers named = {.one = options_one, .both = options_both};
    struct test_oneof_s_handlers oneof = {.one = oneof_echo};
    struct plain_service_handlers plain = {.get_httpthing = plain_thing};
    struct test_old_some_handlers some = {.ask = old_ask};
    struct test_old_old_handlers old = {NULL, NULL};
    struct test_v1_spread_handlers spread = {.down = spread_down};
    struct short_local_handlers local = {NULL};
    struct empty_handlers empty = {NULL};
    char error[256];
    struct stub_server *server = stub_server_create(&options, error, sizeof(error));

    if (!server) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    if (!int_class_register_register(server, &reserved, NULL) ||
        !test_optional_s_register(server, &optional, NULL) ||
        !short_name_s_register(server, &named, NULL) ||
        !test_oneof_s_register(server, &oneof, NULL) ||
        !plain_service_register(server, &plain, NULL) ||
        !test_old_some_register(server, &some, NULL) ||
        !test_old_old_register(server, &old, NULL) ||
        !test_v1_spread_register(server, &spread, NULL) ||
        !short_local_register(server, &local, NULL) ||
        !empty_register(server, &empty, NULL) || !stub_reflection_register(server) ||
        !stub_server_start(server))
        return 1;
    while (stub_server_next(server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        ;
    return 0;
}
