#include "cli/json.h"

#include "holdfast/v1/quota_service.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* The message as compact text, compared and freed. */
static void assert_json(const ProtobufCMessage *message, const char *expected)
{
    json_t *object = json_from_message(message);
    char *text = json_dumps(object, JSON_COMPACT);

    cr_assert_str_eq(text, expected);
    free(text);
    json_decref(object);
}

static void assert_time(int64_t seconds, int32_t nanos, const char *expected)
{
    char text[JSON_TIME_BYTES];

    cr_assert_str_eq(json_time_format(seconds, nanos, text), expected);
}

Test(json, writes_zero_scalars_and_strings)
{
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT;

    assert_json(&amount.base, "{\"meter\":\"\",\"units\":0}");
}

Test(json, writes_enums_by_name_and_repeated_messages)
{
    Holdfast__V1__CheckRequest request = HOLDFAST__V1__CHECK_REQUEST__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts = &amount;
    char tenant[] = "demo", meter[] = "tokens";

    amount.meter = meter;
    amount.units = INT64_C(9007199254740991);
    request.tenant = tenant;
    request.amounts = &amounts;
    request.n_amounts = 1;
    request.priority = HOLDFAST__V1__PRIORITY__PRIORITY_DEFERRABLE;
    assert_json(&request.base,
                "{\"tenant\":\"demo\",\"scope\":\"\",\"amounts\":[{\"meter\":\"tokens\","
                "\"units\":9007199254740991}],\"priority\":\"PRIORITY_DEFERRABLE\"}");
}

Test(json, writes_only_the_member_of_a_oneof_that_is_set)
{
    Holdfast__V1__WatchRequest request = HOLDFAST__V1__WATCH_REQUEST__INIT;
    Holdfast__V1__EventKind kinds[] = {HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_CAP};

    request.kinds = kinds;
    request.n_kinds = 1;
    assert_json(&request.base, "{\"tenant\":\"\",\"scopes\":[],\"meters\":[],"
                               "\"kinds\":[\"EVENT_KIND_HARD_CAP\"]}");
    request.start_case = HOLDFAST__V1__WATCH_REQUEST__START_AFTER_SEQ;
    assert_json(&request.base, "{\"tenant\":\"\",\"scopes\":[],\"meters\":[],"
                               "\"kinds\":[\"EVENT_KIND_HARD_CAP\"],\"after_seq\":0}");
}

Test(json, writes_times_and_spans_as_text)
{
    Google__Protobuf__Duration span = GOOGLE__PROTOBUF__DURATION__INIT;
    Holdfast__V1__Reason reason = HOLDFAST__V1__REASON__INIT;
    Holdfast__V1__Progress progress = HOLDFAST__V1__PROGRESS__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

    span.seconds = 1;
    span.nanos = 500000000;
    reason.retry_after = &span;
    assert_json(&reason.base, "{\"code\":\"REASON_CODE_UNSPECIFIED\",\"limit_id\":\"\",\"scope\":\"\","
                              "\"meter\":\"\",\"short_by\":0,\"retry_after\":\"1.500s\","
                              "\"message\":\"\"}");
    time.seconds = 1700158546;
    time.nanos = 680590000;
    progress.server_time = &time;
    assert_json(&progress.base, "{\"server_time\":\"2023-11-16T18:15:46.680590Z\"}");
}

Test(json, writes_times_with_the_digits_they_need)
{
    assert_time(0, 0, "1970-01-01T00:00:00Z");
    assert_time(1709164800, 250000000, "2024-02-29T00:00:00.250Z");
    assert_time(1709164800, 1, "2024-02-29T00:00:00.000000001Z");
}
