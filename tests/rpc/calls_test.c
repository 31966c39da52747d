/* What is counted and logged of every call. */
#include "tests/rpc/edge.h"

#include "base/log.h"
#include "holdfast/v1/quota_service.stub.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct edge edge;

static const struct stub_method *check_method(void)
{
    for (size_t i = 0; i < holdfast_v1_quota_service_service.methods_count; i++) {
        const struct stub_method *method = &holdfast_v1_quota_service_service.methods[i];

        if (strcmp(method->path, "/holdfast.v1.QuotaService/Check") == 0)
            return method;
    }
    cr_assert(false, "Check is gone");
    return NULL;
}

/* An empty request is refused, whatever the path. */
static int call(const char *path, const char *traceparent)
{
    struct stub_method method = *check_method();
    const char *metadata[] = {"traceparent", traceparent};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 1};
    Holdfast__V1__CheckRequest request = HOLDFAST__V1__CHECK_REQUEST__INIT;
    ProtobufCMessage *reply;
    int code;

    method.path = path;
    code = stub_unary(edge.channel, &method, &options, &request.base, &reply, NULL);
    for (int i = 0; i < 5000 && stub_server_calls(edge.server) > 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    cr_assert_eq(stub_server_calls(edge.server), 0);
    return code;
}

Test(calls, are_counted_by_method_and_code)
{
    edge_start(&edge);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(call("/holdfast.v1.QuotaService/Check", "-"), STUB_INVALID_ARGUMENT);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(call("/holdfast.v1.QuotaService/Nothing", "-"), STUB_UNIMPLEMENTED);
    cr_assert_eq(calls_count(edge.calls, check_method(), STUB_INVALID_ARGUMENT), 3);
    cr_assert_eq(calls_count(edge.calls, check_method(), STUB_OK), 0);
    cr_assert_eq(calls_count(edge.calls, NULL, STUB_UNIMPLEMENTED), 2);
    edge_stop(&edge);
}

/* What goes to stderr while fn runs. */
static const char *capture(void (*fn)(void))
{
    static char text[16384];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    ssize_t len;

    cr_assert(file && saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    fn();
    cr_assert(dup2(saved, STDERR_FILENO) >= 0);
    len = pread(fileno(file), text, sizeof(text) - 1, 0);
    cr_assert_geq(len, 0);
    text[len] = '\0';
    close(saved);
    fclose(file);
    return text;
}

static void call_once(void)
{
    (void)call("/holdfast.v1.QuotaService/Check", "00-4bf9-00f0-01");
}

Test(calls, are_logged_at_debug_level)
{
    const char *text;

    edge_start(&edge);
    cr_assert_null(strstr(capture(call_once), "call."), "only at debug level");
    log_set_level(LOG_DEBUG);
    text = capture(call_once);
    log_set_level(LOG_INFO);
    cr_assert(strstr(text, "event=call.begun method=/holdfast.v1.QuotaService/Check peer="), "%s",
              text);
    cr_assert(strstr(text, "traceparent=00-4bf9-00f0-01"), "%s", text);
    cr_assert(strstr(text, "event=call.ended method=/holdfast.v1.QuotaService/Check peer="), "%s",
              text);
    cr_assert(strstr(text, "code=INVALID_ARGUMENT"), "%s", text);
    edge_stop(&edge);
}

static void log_counts(void)
{
    calls_log(edge.calls);
}

Test(calls, are_told_in_the_log_by_method_and_code)
{
    const char *text;

    edge_start(&edge);
    call_once();
    call_once();
    (void)call("/no/such", "-");
    text = capture(log_counts);
    cr_assert(strstr(text, "event=calls.counted method=unknown code=UNIMPLEMENTED count=1\n"), "%s",
              text);
    cr_assert(strstr(text, "event=calls.counted method=/holdfast.v1.QuotaService/Check "
                           "code=INVALID_ARGUMENT count=2\n"),
              "%s", text);
    edge_stop(&edge);
}
