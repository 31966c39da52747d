#include "rpc/calls.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    METHODS_MAX = 64, /* both services, health and reflection have some twenty */
    CODES = STUB_UNAUTHENTICATED + 1,
};

/* A row belongs to the method that has claimed it, for ever. */
struct row {
    _Atomic(const struct stub_method *) method;
    _Atomic uint64_t codes[CODES];
};

struct calls {
    struct row unknown;
    struct row rows[METHODS_MAX];
};

struct calls *calls_create(void)
{
    struct calls *calls = calloc(1, sizeof(*calls));

    CHECK(calls);
    return calls;
}

void calls_destroy(struct calls *calls)
{
    free(calls);
}

/* Claims a free row if the method has none. Methods over METHODS_MAX share the unknown ones' row. */
static struct row *row_of(struct calls *calls, const struct stub_method *method)
{
    if (!method)
        return &calls->unknown;
    for (size_t i = 0; i < METHODS_MAX; i++) {
        struct row *row = &calls->rows[i];
        const struct stub_method *owner = NULL;

        if (atomic_load_explicit(&row->method, memory_order_relaxed) == method ||
            atomic_compare_exchange_strong(&row->method, &owner, method) || owner == method)
            return row;
    }
    return &calls->unknown;
}

static void count_ended(void *user, const struct stub_ended *ended, void *state)
{
    struct row *row = row_of(user, ended->method);

    (void)state;
    CHECK(ended->code >= 0 && ended->code < CODES);
    atomic_fetch_add_explicit(&row->codes[ended->code], 1, memory_order_relaxed);
}

static bool log_begun(void *user, struct stub_call *call, void **state)
{
    const char *traceparent;

    (void)user, (void)state;
    if (log_get_level() > LOG_DEBUG)
        return true;
    traceparent = stub_call_metadata(call, "traceparent");
    log_debug("rpc", "call.begun method=%s peer=%s traceparent=%s",
              LOG_VALUE(stub_call_method(call)), LOG_VALUE(stub_call_peer(call)),
              LOG_VALUE(traceparent ? traceparent : "-"));
    return true;
}

static void log_ended(void *user, const struct stub_ended *ended, void *state)
{
    (void)user, (void)state;
    if (log_get_level() > LOG_DEBUG)
        return;
    log_debug("rpc",
              "call.ended method=%s peer=%s code=%s answer_us=%" PRId64 " total_us=%" PRId64
              " messages_in=%" PRIu64 " bytes_in=%" PRIu64 " messages_out=%" PRIu64
              " bytes_out=%" PRIu64 " message=%s",
              LOG_VALUE(stub_call_method(ended->call)), LOG_VALUE(stub_call_peer(ended->call)),
              stub_code_name(ended->code), ended->answered_us - ended->arrived_us,
              ended->ended_us - ended->arrived_us, ended->messages_in, ended->bytes_in,
              ended->messages_out, ended->bytes_out, LOG_VALUE(ended->message));
}

void calls_intercept(struct calls *calls, struct stub_server *server)
{
    stub_server_intercept(server, &(struct stub_interceptor){.after = count_ended, .user = calls});
    stub_server_intercept(server,
                          &(struct stub_interceptor){.before = log_begun, .after = log_ended});
}

static const struct row *find_row(const struct calls *calls, const struct stub_method *method)
{
    if (!method)
        return &calls->unknown;
    for (size_t i = 0; i < METHODS_MAX; i++) {
        if (atomic_load(&calls->rows[i].method) == method)
            return &calls->rows[i];
    }
    return NULL;
}

uint64_t calls_count(const struct calls *calls, const struct stub_method *method, int code)
{
    const struct row *row = find_row(calls, method);

    CHECK(code >= 0 && code < CODES);
    return row ? atomic_load(&row->codes[code]) : 0;
}

static void log_row(const struct row *row, const char *path)
{
    for (int code = 0; code < CODES; code++) {
        uint64_t count = atomic_load(&row->codes[code]);

        if (count > 0)
            log_info("rpc", "calls.counted method=%s code=%s count=%" PRIu64, path,
                     stub_code_name(code), count);
    }
}

void calls_log(const struct calls *calls)
{
    log_row(&calls->unknown, "unknown");
    for (size_t i = 0; i < METHODS_MAX; i++) {
        const struct stub_method *method = atomic_load(&calls->rows[i].method);

        if (method)
            log_row(&calls->rows[i], method->path);
    }
}
