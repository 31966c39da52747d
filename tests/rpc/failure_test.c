#include "rpc/failure.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

Test(failure, every_failure_has_a_code_and_a_reason)
{
    for (int i = FAILURE_NONE + 1; i < FAILURE_COUNT; i++) {
        const char *reason = failure_reason((enum failure)i);

        cr_assert_neq(failure_code((enum failure)i), STUB_OK, "failure %d", i);
        cr_assert_not_null(reason, "failure %d", i);
        cr_assert_gt(strlen(reason), 3, "failure %d", i);
        for (const char *c = reason; *c; c++)
            cr_assert(isupper((unsigned char)*c) || *c == '_', "%s", reason);
    }
}

/* What quota.proto promises. */
Test(failure, codes_are_those_of_the_api)
{
    static const struct {
        enum failure failure;
        int code;
        const char *reason;
    } promised[] = {
        {FAILURE_INVALID_FIELD, STUB_INVALID_ARGUMENT, "INVALID_FIELD"},
        {FAILURE_UNKNOWN_TENANT, STUB_NOT_FOUND, "UNKNOWN_TENANT"},
        {FAILURE_UNKNOWN_JOB, STUB_NOT_FOUND, "UNKNOWN_JOB"},
        {FAILURE_UNKNOWN_LIMIT, STUB_NOT_FOUND, "UNKNOWN_LIMIT"},
        {FAILURE_NO_LIMIT, STUB_FAILED_PRECONDITION, "NO_LIMIT"},
        {FAILURE_RELEASED, STUB_FAILED_PRECONDITION, "RELEASED"},
        {FAILURE_EXPIRED, STUB_FAILED_PRECONDITION, "EXPIRED"},
        {FAILURE_COMMITTED, STUB_FAILED_PRECONDITION, "COMMITTED"},
        {FAILURE_OVERRUN, STUB_FAILED_PRECONDITION, "OVERRUN"},
        {FAILURE_READ_ONLY, STUB_FAILED_PRECONDITION, "READ_ONLY"},
        {FAILURE_NOT_FINAL, STUB_FAILED_PRECONDITION, "NOT_FINAL"},
        {FAILURE_BELOW_ZERO, STUB_FAILED_PRECONDITION, "BELOW_ZERO"},
        {FAILURE_ADJUST_ID_REUSED, STUB_ALREADY_EXISTS, "ADJUST_ID_REUSED"},
        {FAILURE_AMOUNT_BOUND, STUB_OUT_OF_RANGE, "AMOUNT_BOUND"},
        {FAILURE_LIMITS_FULL, STUB_RESOURCE_EXHAUSTED, "LIMITS_FULL"},
        {FAILURE_JOB_MISMATCH, STUB_ALREADY_EXISTS, "JOB_MISMATCH"},
        {FAILURE_TENANT_EXISTS, STUB_ALREADY_EXISTS, "TENANT_EXISTS"},
        {FAILURE_REQUEST_ID_REUSED, STUB_ALREADY_EXISTS, "REQUEST_ID_REUSED"},
        {FAILURE_LIMIT_CONFLICT, STUB_INVALID_ARGUMENT, "INVALID_FIELD"},
        {FAILURE_ETAG_MISMATCH, STUB_ABORTED, "ETAG_MISMATCH"},
        {FAILURE_CONTENTION, STUB_ABORTED, "CONTENTION"},
        {FAILURE_SEQ_TOO_OLD, STUB_OUT_OF_RANGE, "SEQ_TOO_OLD"},
        {FAILURE_SEQ_TOO_NEW, STUB_OUT_OF_RANGE, "SEQ_TOO_NEW"},
        {FAILURE_OVERLOADED, STUB_RESOURCE_EXHAUSTED, "OVERLOADED"},
        {FAILURE_REDIS_UNAVAILABLE, STUB_UNAVAILABLE, "REDIS_UNAVAILABLE"},
        {FAILURE_POSTGRES_UNAVAILABLE, STUB_UNAVAILABLE, "POSTGRES_UNAVAILABLE"},
        {FAILURE_SHARD_RECOVERING, STUB_UNAVAILABLE, "SHARD_RECOVERING"},
        {FAILURE_DRAINING, STUB_UNAVAILABLE, "DRAINING"},
        {FAILURE_DEADLINE, STUB_DEADLINE_EXCEEDED, "DEADLINE"},
        {FAILURE_INTERNAL, STUB_INTERNAL, "INTERNAL"},
    };

    cr_assert_eq(ARRAY_COUNT(promised), FAILURE_COUNT - 1);
    for (size_t i = 0; i < ARRAY_COUNT(promised); i++) {
        cr_assert_eq(failure_code(promised[i].failure), promised[i].code, "%s",
                     promised[i].reason);
        cr_assert_str_eq(failure_reason(promised[i].failure), promised[i].reason);
    }
}

/* Readers of the proto must find each reason. */
Test(failure, the_proto_documents_every_reason)
{
    static char text[1 << 17];
    FILE *file = fopen("proto/holdfast/v1/quota.proto", "r");
    size_t len;

    if (!file)
        file = fopen(HOLDFAST_SOURCE "/proto/holdfast/v1/quota.proto", "r");
    cr_assert_not_null(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    for (int i = FAILURE_NONE + 1; i < FAILURE_COUNT; i++) {
        char line[64];

        snprintf(line, sizeof(line), "reason %s\n", failure_reason((enum failure)i));
        cr_assert_not_null(strstr(text, line), "%s", line);
    }
}
