#include "quota/token.h"

#include "base/amount.h"
#include "base/bytes.h"

#include <string.h>

/* The longest record: every name as long as it may be and every number of ten bytes. */
enum {
    METER_BYTES_MAX = 1 + NAME_BYTES_MAX + VARINT_BYTES_MAX,
    QUOTA_BYTES_MAX = 5 * VARINT_BYTES_MAX,
    WARNING_BYTES_MAX = 1 + NAME_BYTES_MAX + 6 * VARINT_BYTES_MAX,
    RECORD_BYTES_MAX = 3 * 2 + NAME_BYTES_MAX + JOB_ID_BYTES_MAX + SCOPE_BYTES_MAX +
                       7 * VARINT_BYTES_MAX + HOLD_METERS_MAX * METER_BYTES_MAX + 2 +
                       HOLD_QUOTAS_MAX * (QUOTA_BYTES_MAX + WARNING_BYTES_MAX),
};
_Static_assert((int)RECORD_BYTES_MAX <= (int)TOKEN_BODY_MAX, "every hold fits");

static void write_number(struct bytes_writer *writer, int64_t value)
{
    CHECK_MSG(value >= 0, "value=%lld", (long long)value);
    bytes_write_u64(writer, (uint64_t)value);
}

/* Only where there are any, so that what does not warn is as short as ever. */
static void write_warnings(struct bytes_writer *writer, const struct hold *hold)
{
    for (size_t i = 0; hold->warnings && i < hold->quotas_count; i++) {
        const struct hold_warning *warning = &hold->warnings[i];

        if (warning->limit_name.len == 0)
            continue;
        bytes_write_u64(writer, i);
        bytes_write_string(writer, warning->limit_name);
        bytes_write_u64(writer, warning->scope_len);
        write_number(writer, warning->projected);
        write_number(writer, warning->soft);
        write_number(writer, warning->amount);
        write_number(writer, warning->cap);
    }
}

static void write_hold(struct bytes_writer *writer, const struct hold *hold)
{
    CHECK(hold->meters_count <= HOLD_METERS_MAX && hold->quotas_count <= HOLD_QUOTAS_MAX);
    write_number(writer, hold->attempt.epoch);
    write_number(writer, hold->attempt.seq);
    write_number(writer, hold->deadline_ms);
    write_number(writer, hold->created_ms);
    bytes_write_string(writer, hold->scope);
    write_number(writer, hold->mode);
    bytes_write_u64(writer, hold->meters_count);
    for (size_t i = 0; i < hold->meters_count; i++) {
        bytes_write_string(writer, hold->meters[i].meter);
        write_number(writer, hold->meters[i].units);
    }
    bytes_write_u64(writer, hold->quotas_count);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *quota = &hold->quotas[i];

        CHECK(quota->meter < hold->meters_count);
        bytes_write_u64(writer, quota->meter);
        write_number(writer, quota->quota.limit_id);
        write_number(writer, quota->quota.period_start_ms);
        write_number(writer, quota->lease_id);
        write_number(writer, quota->units);
    }
    write_warnings(writer, hold);
}

char *token_issue(struct token_seal *seal, struct arena *arena, const struct token *token)
{
    uint8_t body[TOKEN_BODY_MAX];
    char text[TOKEN_TEXT_MAX + 1];
    struct bytes_writer writer = bytes_writer_on(body, sizeof(body));

    bytes_write_string(&writer, token->tenant);
    bytes_write_string(&writer, token->job_id);
    write_hold(&writer, &token->hold);
    CHECK(!writer.bad);
    return arena_strndup(arena, text,
                         token_seal_close(seal, token->tenant, bytes_written(&writer), text));
}

static int64_t read_number(struct bytes_reader *reader)
{
    return (int64_t)bytes_read_u64(reader, INT64_MAX);
}

static int64_t read_amount(struct bytes_reader *reader)
{
    return (int64_t)bytes_read_u64(reader, AMOUNT_MAX);
}

static bool read_meters(struct bytes_reader *reader, struct arena *arena, struct hold *hold)
{
    hold->meters_count = (size_t)bytes_read_u64(reader, HOLD_METERS_MAX);
    hold->meters = arena_array(arena, hold->meters_count, sizeof(*hold->meters));
    if (!hold->meters)
        return false;
    for (size_t i = 0; i < hold->meters_count; i++) {
        hold->meters[i].meter = bytes_read_string(reader, NAME_BYTES_MAX);
        hold->meters[i].units = read_amount(reader);
    }
    return true;
}

static bool read_quotas(struct bytes_reader *reader, struct arena *arena, struct hold *hold)
{
    hold->quotas_count = (size_t)bytes_read_u64(reader, HOLD_QUOTAS_MAX);
    hold->quotas = arena_array(arena, hold->quotas_count, sizeof(*hold->quotas));
    if (!hold->quotas)
        return false;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct hold_quota *quota = &hold->quotas[i];

        quota->meter = (uint32_t)bytes_read_u64(reader, HOLD_METERS_MAX - 1);
        reader->bad |= quota->meter >= hold->meters_count;
        quota->quota.limit_id = read_number(reader);
        quota->quota.period_start_ms = read_number(reader);
        quota->lease_id = read_number(reader);
        quota->units = read_amount(reader);
    }
    return true;
}

/* All that follows the quotas; tokens of earlier versions end there. */
static bool read_warnings(struct bytes_reader *reader, struct arena *arena, struct hold *hold)
{
    size_t next = 0;

    while (!reader->bad && !bytes_read_all(reader)) {
        size_t i = (size_t)bytes_read_u64(reader, HOLD_QUOTAS_MAX - 1);
        struct hold_warning warning = {.limit_name = bytes_read_string(reader, NAME_BYTES_MAX)};

        warning.scope_len = (size_t)bytes_read_u64(reader, hold->scope.len);
        warning.projected = read_number(reader);
        warning.soft = read_amount(reader);
        warning.amount = read_amount(reader);
        warning.cap = read_amount(reader);
        reader->bad |= i < next || i >= hold->quotas_count || warning.limit_name.len == 0;
        if (reader->bad)
            break;
        if (!hold->warnings)
            hold->warnings = arena_array(arena, hold->quotas_count, sizeof(*hold->warnings));
        if (!hold->warnings)
            return false;
        hold->warnings[i] = warning;
        next = i + 1;
    }
    return true;
}

/* False: no memory. A malformed record shows in the reader. */
static bool read_hold(struct bytes_reader *reader, struct arena *arena, struct hold *hold)
{
    hold->attempt.epoch = read_number(reader);
    hold->attempt.seq = read_number(reader);
    hold->deadline_ms = read_number(reader);
    hold->created_ms = read_number(reader);
    hold->scope = bytes_read_string(reader, SCOPE_BYTES_MAX);
    hold->mode = (int)bytes_read_u64(reader, INT32_MAX);
    return read_meters(reader, arena, hold) && read_quotas(reader, arena, hold) &&
           read_warnings(reader, arena, hold);
}

enum token_verdict token_verify(struct token_seal *seal, struct arena *arena, struct slice tenant,
                                struct slice text, struct token *ret_token)
{
    uint8_t raw[TOKEN_RAW_MAX];
    struct bytes_reader reader;
    struct token token = {0};
    struct slice body;
    char *copy;

    if (!token_seal_open(seal, tenant, text, raw, &body))
        return TOKEN_FORGED;
    copy = arena_strndup(arena, body.data, body.len);
    if (!copy)
        return TOKEN_NO_MEMORY;
    reader = bytes_reader_on(slice_of(copy, body.len));
    token.tenant = bytes_read_string(&reader, NAME_BYTES_MAX);
    token.job_id = bytes_read_string(&reader, JOB_ID_BYTES_MAX);
    if (!read_hold(&reader, arena, &token.hold))
        return TOKEN_NO_MEMORY;
    /* The signature is right, so nobody but an earlier version of ourselves wrote this. */
    if (!bytes_read_all(&reader) || !slice_equal(token.tenant, tenant) ||
        !hold_is_sound(&token.hold))
        return TOKEN_FORGED;
    *ret_token = token;
    return TOKEN_GENUINE;
}

bool token_tenant(enum token_purpose purpose, struct arena *arena, struct slice text,
                  struct slice *ret_tenant)
{
    uint8_t raw[TOKEN_RAW_MAX];
    struct bytes_reader reader;
    struct slice body, tenant;
    char *copy;

    if (!token_seal_peek(purpose, text, raw, &body))
        return false;
    reader = bytes_reader_on(body);
    tenant = bytes_read_string(&reader, NAME_BYTES_MAX);
    if (reader.bad || tenant.len == 0)
        return false;
    copy = arena_strndup(arena, tenant.data, tenant.len);
    *ret_tenant = slice_of(copy, tenant.len);
    return copy != NULL;
}
