#include "tests/rpc/edge.h"

#include "quota/token.h"
#include "rpc/failure.h"

#include "google/rpc/error_details.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *serve(void *server)
{
    while (stub_server_next(server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        continue;
    return NULL;
}

void edge_start(struct edge *edge)
{
    static const char *const listen[] = {"127.0.0.1:0"};
    struct stub_server_options options = {
        .listen = listen,
        .listen_count = 1,
        .message_bytes_max = 64 * 1024,
        .reject = failure_reject,
        .reject_user = &edge->rpc,
    };
    struct token_keys *keys;
    char error[256] = "", target[64];

    memset(edge, 0, sizeof(*edge));
    estimate_init(&edge->estimate);
    cr_assert_eq(token_keys_parse(
                     SLICE("7:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
                     "test", &keys, error, sizeof(error)),
                 STATUS_OK, "%s", error);
    edge->services.clock = clock_real();
    edge->services.estimate = &edge->estimate;
    edge->services.token_keys = keys;
    edge->services.options.ttl_default_ms = 60000;
    snprintf(edge->services.server_name, sizeof(edge->services.server_name), "here:1");
    cr_assert(rpc_init(&edge->rpc, &edge->services));
    edge->server = stub_server_create(&options, error, sizeof(error));
    cr_assert_not_null(edge->server, "%s", error);
    edge->calls = calls_create();
    calls_intercept(edge->calls, edge->server);
    cr_assert(rpc_register(&edge->rpc, edge->server));
    cr_assert(stub_server_start(edge->server));
    cr_assert_eq(pthread_create(&edge->thread, NULL, serve, edge->server), 0);
    snprintf(target, sizeof(target), "127.0.0.1:%d", stub_server_port(edge->server, 0));
    edge->channel = stub_channel_create(target, NULL);
}

void edge_stop(struct edge *edge)
{
    stub_channel_destroy(edge->channel);
    stub_server_stop(edge->server);
    pthread_join(edge->thread, NULL);
    stub_server_destroy(edge->server);
    calls_destroy(edge->calls);
    rpc_done(&edge->rpc);
    token_keys_destroy((struct token_keys *)(uintptr_t)edge->services.token_keys);
    estimate_done(&edge->estimate);
}

char *edge_token(struct edge *edge, const char *tenant, const char *job_id)
{
    struct hold_meter meter = {SLICE("tokens"), 60};
    struct hold_quota quota = {0, {17, 0}, 3145729, 60};
    struct token token = {
        .tenant = slice_from_cstr(tenant),
        .job_id = slice_from_cstr(job_id),
        .hold = {.attempt = {1, 1},
                 .deadline_ms = 1764072060000,
                 .created_ms = 1764072000000,
                 .mode = 1,
                 .meters_count = 1,
                 .meters = &meter,
                 .quotas_count = 1,
                 .quotas = &quota},
    };
    struct token_seal *seal = token_seal_create(edge->services.token_keys, TOKEN_OF_RESERVATION);
    struct arena arena;
    char *text;

    arena_init(&arena, 1024, 1 << 20);
    text = strdup(token_issue(seal, &arena, &token));
    arena_done(&arena);
    token_seal_destroy(seal);
    return text;
}

static bool info_is(const Google__Rpc__ErrorInfo *info, const char *reason)
{
    bool definite = false;

    if (strcmp(info->domain, "holdfast") != 0 || strcmp(info->reason, reason) != 0)
        return false;
    for (size_t i = 0; i < info->n_metadata; i++)
        definite = definite || (strcmp(info->metadata[i]->key, "effect") == 0 &&
                                strcmp(info->metadata[i]->value, "definite") == 0);
    return definite;
}

bool edge_says(const struct stub_status *status, int code, const char *reason)
{
    ProtobufCMessage *info = stub_status_detail(status, &google__rpc__error_info__descriptor);
    const char *server = stub_status_metadata(status, "holdfast-server");
    bool right = status->code == code && info && server && strcmp(server, "here:1") == 0 &&
                 info_is((const Google__Rpc__ErrorInfo *)(const void *)info, reason);

    if (info)
        protobuf_c_message_free_unpacked(info, NULL);
    return right;
}

static size_t count_named(const struct stub_status *status, const char *field)
{
    ProtobufCMessage *detail = stub_status_detail(status, &google__rpc__bad_request__descriptor);
    const Google__Rpc__BadRequest *bad = (const void *)detail;
    size_t count = 0;

    if (!detail)
        return 0;
    for (size_t i = 0; i < bad->n_field_violations; i++)
        count += !field || strcmp(bad->field_violations[i]->field, field) == 0;
    protobuf_c_message_free_unpacked(detail, NULL);
    return count;
}

bool edge_names(const struct stub_status *status, const char *field)
{
    return count_named(status, field) > 0;
}

size_t edge_named(const struct stub_status *status)
{
    return count_named(status, NULL);
}
