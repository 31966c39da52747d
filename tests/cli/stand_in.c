#include "stand_in_state.h"

#include "base/check.h"
#include "google/rpc/error_details.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_of(const char *constant)
{
    char *writable;

    memcpy(&writable, &constant, sizeof(writable));
    return writable;
}

int number_of(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

void fail_call(struct stub_call *call, int code, const char *reason, const char *field)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry effect = GOOGLE__RPC__ERROR_INFO__METADATA_ENTRY__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry *effects = &effect;
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations = &violation;
    const ProtobufCMessage *details[] = {&info.base, &bad.base};

    effect.key = text_of("effect");
    effect.value = text_of(code == STUB_UNAVAILABLE ? "unknown" : "definite");
    info.domain = text_of("holdfast");
    info.reason = text_of(reason);
    info.n_metadata = 1;
    info.metadata = &effects;
    violation.field = text_of(field ? field : "");
    violation.description = text_of("is wrong");
    bad.field_violations = &violations;
    bad.n_field_violations = 1;
    stub_call_add_initial(call, "holdfast-server", "stand-in:1");
    stub_call_fail(call, code, "the stand-in refuses", details, field ? 2 : 1);
}

bool failed_on_purpose(struct stand_in *stand_in, struct stub_call *call)
{
    bool failed;

    pthread_mutex_lock(&stand_in->lock);
    failed = stand_in->fail_count > 0;
    if (failed) {
        stand_in->fail_count--;
        fail_call(call, stand_in->fail_code, stand_in->fail_reason, NULL);
    }
    pthread_mutex_unlock(&stand_in->lock);
    return failed;
}

struct tenant *find_tenant(struct stand_in *stand_in, const char *name)
{
    for (size_t i = 0; i < stand_in->tenants_count; i++) {
        if (strcmp(stand_in->tenants[i].name, name) == 0)
            return &stand_in->tenants[i];
    }
    return NULL;
}

struct limit *find_limit(struct stand_in *stand_in, const char *tenant, const char *meter,
                         const char *limit_id)
{
    for (size_t i = 0; i < stand_in->limits_count; i++) {
        const Holdfast__V1__Limit *limit = stand_in->limits[i].stored;

        if (strcmp(limit->tenant, tenant) == 0 && (!meter || strcmp(limit->meter, meter) == 0) &&
            (!limit_id || strcmp(limit->limit_id, limit_id) == 0))
            return &stand_in->limits[i];
    }
    return NULL;
}

static void *serve(void *user)
{
    struct stand_in *stand_in = user;

    while (stub_server_next(stand_in->server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        ;
    return NULL;
}

struct stand_in *stand_in_start(void)
{
    static const char *const listen[] = {"127.0.0.1:0"};
    const struct stub_server_options options = {.listen = listen, .listen_count = 1};
    struct stand_in *stand_in = calloc(1, sizeof(*stand_in));
    char error[256];

    CHECK(stand_in);
    stand_in->changes_left = -1;
    pthread_mutex_init(&stand_in->lock, NULL);
    stand_in->server = stub_server_create(&options, error, sizeof(error));
    CHECK(stand_in->server);
    CHECK(holdfast_v1_quota_service_register(stand_in->server, &stand_in_quota_handlers, stand_in));
    CHECK(holdfast_v1_admin_service_register(stand_in->server, &stand_in_admin_handlers, stand_in));
    CHECK(stub_health_register(stand_in->server));
    CHECK(stub_server_start(stand_in->server));
    stub_health_set(stand_in->server, "", true);
    snprintf(stand_in->address, sizeof(stand_in->address), "127.0.0.1:%d",
             stub_server_port(stand_in->server, 0));
    CHECK(pthread_create(&stand_in->thread, NULL, serve, stand_in) == 0);
    return stand_in;
}

void stand_in_stop(struct stand_in *stand_in)
{
    stub_server_drain(stand_in->server);
    stub_server_cancel_all(stand_in->server);
    stub_server_stop(stand_in->server);
    pthread_join(stand_in->thread, NULL);
    stub_server_destroy(stand_in->server);
    for (size_t i = 0; i < stand_in->limits_count; i++)
        holdfast__v1__limit__free_unpacked(stand_in->limits[i].stored, NULL);
    pthread_mutex_destroy(&stand_in->lock);
    free(stand_in);
}

const char *stand_in_address(const struct stand_in *stand_in)
{
    return stand_in->address;
}

void stand_in_fail(struct stand_in *stand_in, int count, int code, const char *reason)
{
    pthread_mutex_lock(&stand_in->lock);
    stand_in->fail_count = count;
    stand_in->fail_code = code;
    stand_in->fail_reason = reason;
    pthread_mutex_unlock(&stand_in->lock);
}

void stand_in_fail_changes_after(struct stand_in *stand_in, int changes, int code,
                                 const char *reason)
{
    pthread_mutex_lock(&stand_in->lock);
    stand_in->changes_left = changes;
    stand_in->changes_code = code;
    stand_in->changes_reason = reason;
    pthread_mutex_unlock(&stand_in->lock);
}

void stand_in_refuse_limit(struct stand_in *stand_in, const char *limit_id)
{
    pthread_mutex_lock(&stand_in->lock);
    stand_in->refused_limit = limit_id;
    pthread_mutex_unlock(&stand_in->lock);
}

int stand_in_changes(struct stand_in *stand_in)
{
    int changes;

    pthread_mutex_lock(&stand_in->lock);
    changes = stand_in->changes;
    pthread_mutex_unlock(&stand_in->lock);
    return changes;
}

void stand_in_lose_commits(struct stand_in *stand_in, int nth)
{
    pthread_mutex_lock(&stand_in->lock);
    stand_in->lose_nth = nth;
    pthread_mutex_unlock(&stand_in->lock);
}

void stand_in_double_commits(struct stand_in *stand_in, int nth)
{
    pthread_mutex_lock(&stand_in->lock);
    stand_in->double_nth = nth;
    pthread_mutex_unlock(&stand_in->lock);
}

void stand_in_break_streams(struct stand_in *stand_in, bool on)
{
    pthread_mutex_lock(&stand_in->lock);
    stand_in->break_streams = on;
    pthread_mutex_unlock(&stand_in->lock);
}
