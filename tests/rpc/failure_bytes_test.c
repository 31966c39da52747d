/* Errors stay below the metadata that any client takes, whatever they tell. */
#include "rpc/failure.h"

#include "op/services.h"

#include "stub/client.h"
#include "stub/server.h"

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "holdfast/v1/quota_service.stub.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { LONG_BYTES = 4000, METADATA_BYTES_MAX = 8192, WHOLE = 19 };

static struct services services;
static struct op_error error;
static struct failure_fact facts[HOLD_METERS_MAX];
static size_t facts_count;
static char long_text[LONG_BYTES + 1];
static struct stub_server *server;
static struct stub_channel *channel;
static struct stub_status st;
static pthread_t thread;
static ProtobufCMessage *detail; /* of the last question */

static void fail(void *user, struct stub_call *call, const Holdfast__V1__CheckRequest *request)
{
    (void)user;
    (void)request;
    failure_answer(&services, call, &error, facts, facts_count);
}

static void *serve(void *unused)
{
    (void)unused;
    while (stub_server_next(server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        continue;
    return NULL;
}

static void begin(void)
{
    static const char *const listen[] = {"127.0.0.1:0"};
    static const struct holdfast_v1_quota_service_handlers handlers = {.check = fail};
    const struct stub_server_options options = {.listen = listen, .listen_count = 1};
    char why[256] = "", target[64];

    for (size_t i = 0; i + 3 <= LONG_BYTES; i += 3)
        memcpy(long_text + i, "\xe2\x82\xac", 3); /* the euro sign */
    error = (struct op_error){.failure = FAILURE_INVALID_FIELD, .text = long_text};
    facts_count = 0;
    server = stub_server_create(&options, why, sizeof(why));
    cr_assert_not_null(server, "%s", why);
    cr_assert(holdfast_v1_quota_service_register(server, &handlers, NULL));
    cr_assert(stub_server_start(server));
    snprintf(target, sizeof(target), "127.0.0.1:%d", stub_server_port(server, 0));
    channel = stub_channel_create(target, NULL);
}

static void end(void)
{
    if (detail)
        protobuf_c_message_free_unpacked(detail, NULL);
    stub_status_clear(&st);
    stub_channel_destroy(channel);
    stub_server_stop(server);
    pthread_join(thread, NULL);
    stub_server_destroy(server);
}

TestSuite(failure_bytes, .init = begin, .fini = end, .timeout = 30);

/* Once in a test: the thread that answers starts here, when what it is to say is complete. */
static void ask(int code)
{
    Holdfast__V1__CheckRequest request = HOLDFAST__V1__CHECK_REQUEST__INIT;
    Holdfast__V1__CheckResponse *reply = NULL;

    cr_assert_eq(pthread_create(&thread, NULL, serve, NULL), 0);
    stub_status_clear(&st);
    cr_assert_eq(holdfast_v1_quota_service_check(channel, NULL, &request, &reply, &st), code, "%s",
                 st.message);
}

/* As a header and, in base64, as details. */
static size_t metadata_bytes(void)
{
    size_t bytes = 0;

    cr_assert_not_null(st.details, "the client refused them");
    for (const char *c = st.message; *c; c++)
        bytes += (unsigned char)*c < 0x80 ? 1 : 3;
    return bytes + protobuf_c_message_get_packed_size(&st.details->base) * 4 / 3;
}

static const void *detail_of(const ProtobufCMessageDescriptor *type)
{
    if (detail)
        protobuf_c_message_free_unpacked(detail, NULL);
    detail = stub_status_detail(&st, type);
    cr_assert_not_null(detail);
    return detail;
}

Test(failure_bytes, fields_of_long_texts_are_cut_and_counted)
{
    const Google__Rpc__BadRequest *bad;

    for (size_t i = 0; i < OP_FIELDS_MAX; i++)
        error.fields[i] = (struct op_field){long_text, long_text};
    error.fields_count = OP_FIELDS_MAX;
    ask(STUB_INVALID_ARGUMENT);
    cr_assert_lt(metadata_bytes(), METADATA_BYTES_MAX);
    bad = detail_of(&google__rpc__bad_request__descriptor);
    cr_assert_gt(bad->n_field_violations, 3);
    cr_assert_lt(bad->n_field_violations, OP_FIELDS_MAX);
    cr_assert(strncmp(bad->field_violations[bad->n_field_violations - 1]->description, "and ", 4) == 0);
    cr_assert_str_eq(st.message + strlen(st.message) - 3, "...");
    cr_assert_eq((strlen(st.message) - 3) % 3, 0, "cut between two characters");
}

Test(failure_bytes, fields_of_usual_texts_are_whole)
{
    static const char path[] = "amounts[12].meter";
    static const char text[] = "amounts[12].meter has a character at 7 that is not one of a-z 0-9 . _ -";
    const Google__Rpc__BadRequest *bad;

    for (size_t i = 0; i < WHOLE; i++)
        error.fields[i] = (struct op_field){path, text};
    error.fields_count = WHOLE;
    ask(STUB_INVALID_ARGUMENT);
    bad = detail_of(&google__rpc__bad_request__descriptor);
    cr_assert_eq(bad->n_field_violations, WHOLE);
    for (size_t i = 0; i < WHOLE; i++)
        cr_assert_str_eq(bad->field_violations[i]->description, text);
    cr_assert_lt(metadata_bytes(), METADATA_BYTES_MAX);
}

/* COMMITTED with what was recorded of as many meters as a job may have. */
Test(failure_bytes, what_was_committed_of_all_meters_is_told)
{
    static char keys[HOLD_METERS_MAX][80];
    const Google__Rpc__ErrorInfo *info;

    error.failure = FAILURE_COMMITTED;
    for (size_t i = 0; i < HOLD_METERS_MAX; i++) {
        snprintf(keys[i], sizeof(keys[i]), "committed.%064zu", i);
        facts[i] = (struct failure_fact){keys[i], "9007199254740991"};
    }
    facts_count = HOLD_METERS_MAX;
    error.fields[0] = (struct op_field){long_text, long_text};
    error.fields_count = 1;
    ask(STUB_FAILED_PRECONDITION);
    info = detail_of(&google__rpc__error_info__descriptor);
    cr_assert_eq(info->n_metadata, HOLD_METERS_MAX + 1);
    cr_assert_lt(metadata_bytes(), METADATA_BYTES_MAX);
}
