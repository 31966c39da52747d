#include "rpc/failure.h"

#include "base/check.h"
#include "base/log.h"
#include "op/services.h"
#include "rpc/service.h"

#include "google/rpc/error_details.pb-c.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* When to repeat a call. A shard is ready by then, or its next owner may begin. */
enum {
    STORE_AGAIN_MS = 500,
    SHARD_AGAIN_MS = AUTHORITY_MAKING_MS,
    DRAINING_AGAIN_MS = 1000,
    OVERLOADED_AGAIN_MS = 100,
};

struct failure_row {
    int code;
    const char *reason;
    const char *text; /* if the op did not say it better */
    int64_t retry_ms; /* 0: repeating the call as it is does not help */
};

static const struct failure_row rows[FAILURE_COUNT] = {
    [FAILURE_NONE] = {STUB_OK, "", "", 0},
    [FAILURE_INVALID_FIELD] = {STUB_INVALID_ARGUMENT, "INVALID_FIELD", "a field is wrong", 0},
    [FAILURE_UNKNOWN_TENANT] = {STUB_NOT_FOUND, "UNKNOWN_TENANT",
                                "no such tenant; create it with AdminService.CreateTenant", 0},
    [FAILURE_UNKNOWN_JOB] = {STUB_NOT_FOUND, "UNKNOWN_JOB",
                             "nothing is known of this job; pass its reservation_id if there is one",
                             0},
    [FAILURE_UNKNOWN_LIMIT] = {STUB_NOT_FOUND, "UNKNOWN_LIMIT", "no such limit in this tenant", 0},
    [FAILURE_NO_LIMIT] = {STUB_FAILED_PRECONDITION, "NO_LIMIT", "a meter has no limit", 0},
    [FAILURE_JOB_MISMATCH] = {STUB_ALREADY_EXISTS, "JOB_MISMATCH",
                              "the job_id was used before with other parameters; use another one",
                              0},
    [FAILURE_RELEASED] = {STUB_FAILED_PRECONDITION, "RELEASED",
                          "the attempt was released and never commits; reserve anew", 0},
    [FAILURE_EXPIRED] = {STUB_FAILED_PRECONDITION, "EXPIRED",
                         "the attempt is past its expiry; reserve anew", 0},
    [FAILURE_COMMITTED] = {STUB_FAILED_PRECONDITION, "COMMITTED",
                           "the job was committed; nothing can be given back or extended", 0},
    [FAILURE_OVERRUN] = {STUB_FAILED_PRECONDITION, "OVERRUN",
                         "the use above the hold does not fit; the hold stays", 0},
    [FAILURE_READ_ONLY] = {STUB_FAILED_PRECONDITION, "READ_ONLY",
                           "the tenant is read-only: the database has lost acknowledged use of it",
                           0},
    [FAILURE_NOT_FINAL] = {STUB_FAILED_PRECONDITION, "NOT_FINAL",
                           "the job has no record that could be adjusted", 0},
    [FAILURE_BELOW_ZERO] = {STUB_FAILED_PRECONDITION, "BELOW_ZERO",
                            "more would be taken than is left of the job", 0},
    [FAILURE_ADJUST_ID_REUSED] = {STUB_ALREADY_EXISTS, "ADJUST_ID_REUSED",
                                  "the adjust_id was used with other content; use a new one", 0},
    [FAILURE_AMOUNT_BOUND] = {STUB_OUT_OF_RANGE, "AMOUNT_BOUND",
                              "a sum would pass 9007199254740991 (2^53-1), the most that can be "
                              "counted",
                              0},
    [FAILURE_CONTENTION] = {STUB_ABORTED, "CONTENTION",
                            "lost against others several times; repeat after a short pause", 50},
    [FAILURE_ETAG_MISMATCH] = {STUB_ABORTED, "ETAG_MISMATCH",
                               "changed since it was read; read it again, then decide", 0},
    [FAILURE_TENANT_EXISTS] = {STUB_ALREADY_EXISTS, "TENANT_EXISTS",
                               "a tenant of that name exists; use UpdateTenant", 0},
    [FAILURE_REQUEST_ID_REUSED] = {STUB_ALREADY_EXISTS, "REQUEST_ID_REUSED",
                                   "the request_id was used with other content; use a new one", 0},
    [FAILURE_LIMIT_CONFLICT] = {STUB_INVALID_ARGUMENT, "INVALID_FIELD",
                                "scope, meter, period, time zone and anchor of a limit cannot be "
                                "changed; delete it and add another",
                                0},
    [FAILURE_LIMITS_FULL] = {STUB_RESOURCE_EXHAUSTED, "LIMITS_FULL",
                             "a bound on the number of limits was reached; delete some", 0},
    [FAILURE_SEQ_TOO_OLD] = {STUB_OUT_OF_RANGE, "SEQ_TOO_OLD",
                             "the position is older than the events that are kept; start without "
                             "one, from a snapshot",
                             0},
    [FAILURE_SEQ_TOO_NEW] = {STUB_OUT_OF_RANGE, "SEQ_TOO_NEW",
                             "the position is above the newest event; start without one, from a "
                             "snapshot",
                             0},
    [FAILURE_REDIS_UNAVAILABLE] = {STUB_UNAVAILABLE, "REDIS_UNAVAILABLE",
                                   "Redis does not answer; repeat with the same job_id",
                                   STORE_AGAIN_MS},
    [FAILURE_POSTGRES_UNAVAILABLE] = {STUB_UNAVAILABLE, "POSTGRES_UNAVAILABLE",
                                      "Postgres does not answer; repeat with the same job_id",
                                      STORE_AGAIN_MS},
    [FAILURE_SHARD_RECOVERING] = {STUB_UNAVAILABLE, "SHARD_RECOVERING",
                                  "the tenant's counters are being rebuilt; repeat in a second",
                                  SHARD_AGAIN_MS},
    [FAILURE_DRAINING] = {STUB_UNAVAILABLE, "DRAINING",
                          "this server is shutting down; repeat on another one", DRAINING_AGAIN_MS},
    [FAILURE_OVERLOADED] = {STUB_RESOURCE_EXHAUSTED, "OVERLOADED",
                            "a bound of the server was reached; repeat after a pause",
                            OVERLOADED_AGAIN_MS},
    [FAILURE_DEADLINE] = {STUB_DEADLINE_EXCEEDED, "DEADLINE",
                          "the deadline passed before the answer", 0},
    [FAILURE_INTERNAL] = {STUB_INTERNAL, "INTERNAL", "a fault of the server", 0},
};

int failure_code(enum failure failure)
{
    CHECK(failure > FAILURE_NONE && failure < FAILURE_COUNT);
    return rows[failure].code;
}

const char *failure_reason(enum failure failure)
{
    CHECK(failure > FAILURE_NONE && failure < FAILURE_COUNT);
    return rows[failure].reason;
}

enum { DETAILS_MAX = 4 };

/*
 * Clients take 8 KiB of metadata by default. The details travel in base64 (4 bytes for 3), and the text
 * twice: in them, and by itself with up to 3 bytes for one.
 */
enum {
    METADATA_BYTES_MAX = 8192,
    METADATA_REST_BYTES = 512, /* names of headers, the server, type URLs */
    TEXT_BYTES_MAX = 320,
    PATH_BYTES_MAX = 128,
    DESCRIPTION_BYTES_MAX = 200,
    FACTS_BYTES_MAX = 3200, /* HOLD_METERS_MAX meters with what was committed of each fit */
    OTHERS_BYTES_MAX = 600, /* PreconditionFailure and RetryInfo */
    DETAILS_BYTES_MAX = 4500,
};

_Static_assert((DETAILS_BYTES_MAX + TEXT_BYTES_MAX) * 4 / 3 + 3 * TEXT_BYTES_MAX +
                       METADATA_REST_BYTES <
                   METADATA_BYTES_MAX,
               "what goes out fits into the metadata of any client");

/* What goes out; everything is in the call's memory. */
struct status_draft {
    struct stub_call *call;
    struct services *services;
    int code;
    const char *reason;
    const char *text;
    bool effect_unknown;
    int64_t retry_ms;
    const ProtobufCMessage *details[DETAILS_MAX];
    size_t details_count;
};

/* protobuf-c wants char * and never writes through it. */
static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = text ? text : ""};

    return cast.out;
}

/* At most max bytes of it, in whole characters. */
static const char *clip(struct stub_call *call, const char *text, size_t max)
{
    static const char dots[] = "...";
    size_t len = strlen(text), keep = max - strlen(dots);
    char *cut;

    if (len <= max)
        return text;
    while (keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80)
        keep--;
    cut = stub_call_alloc(call, keep + sizeof(dots));
    memcpy(cut, text, keep);
    memcpy(cut + keep, dots, sizeof(dots));
    return cut;
}

/* How many of them fit. */
static size_t fitting_facts(const struct failure_fact *facts, size_t count)
{
    enum { OVERHEAD = 9 }; /* tags and lengths of an entry */
    size_t bytes = 0, fit = 0;

    for (; fit < count; fit++) {
        bytes += strlen(facts[fit].key) + strlen(facts[fit].value) + OVERHEAD;
        if (bytes > FACTS_BYTES_MAX)
            break;
    }
    return fit;
}

static void add_error_info(struct status_draft *draft, const struct failure_fact *facts,
                           size_t facts_count)
{
    size_t count = fitting_facts(facts, facts_count) + 1;
    Google__Rpc__ErrorInfo *info = stub_call_alloc(draft->call, sizeof(*info));
    Google__Rpc__ErrorInfo__MetadataEntry *entries =
        stub_call_alloc(draft->call, count * sizeof(*entries));

    google__rpc__error_info__init(info);
    info->reason = text_of(draft->reason);
    info->domain = text_of(FAILURE_DOMAIN);
    info->metadata = stub_call_alloc(draft->call, count * sizeof(*info->metadata));
    info->n_metadata = count;
    for (size_t i = 0; i < count; i++) {
        google__rpc__error_info__metadata_entry__init(&entries[i]);
        info->metadata[i] = &entries[i];
        if (i > 0) {
            entries[i].key = text_of(facts[i - 1].key);
            entries[i].value = text_of(facts[i - 1].value);
        }
    }
    entries[0].key = text_of("effect");
    entries[0].value = text_of(draft->effect_unknown ? "unknown" : "definite");
    draft->details[draft->details_count++] = &info->base;
}

enum { VIOLATION_HEAD_BYTES = 3, MORE_BYTES_MAX = DESCRIPTION_BYTES_MAX + PATH_BYTES_MAX + 64 };

/* What stands in place of the descriptions of so many. */
static char *more_of(struct stub_call *call, size_t count)
{
    enum { BYTES = 64 };
    char *text = stub_call_alloc(call, BYTES);

    snprintf(text, BYTES, "and %zu more: correct these first", count - 1);
    return text;
}

static void add_bad_request(struct status_draft *draft, const struct op_field *fields, size_t count)
{
    Google__Rpc__BadRequest *bad;
    Google__Rpc__BadRequest__FieldViolation *violations;
    size_t bytes = OTHERS_BYTES_MAX;

    if (count == 0)
        return;
    for (size_t i = 0; i < draft->details_count; i++)
        bytes += protobuf_c_message_get_packed_size(draft->details[i]);
    bad = stub_call_alloc(draft->call, sizeof(*bad));
    violations = stub_call_alloc(draft->call, count * sizeof(*violations));
    google__rpc__bad_request__init(bad);
    bad->field_violations = stub_call_alloc(draft->call, count * sizeof(*bad->field_violations));
    for (size_t i = 0; i < count; i++) {
        google__rpc__bad_request__field_violation__init(&violations[i]);
        violations[i].field = text_of(clip(draft->call, fields[i].field, PATH_BYTES_MAX));
        violations[i].description =
            text_of(clip(draft->call, fields[i].description, DESCRIPTION_BYTES_MAX));
        violations[i].reason = text_of(draft->reason);
        bad->field_violations[bad->n_field_violations++] = &violations[i];
        bytes += protobuf_c_message_get_packed_size(&violations[i].base) + VIOLATION_HEAD_BYTES;
        if (bytes <= DETAILS_BYTES_MAX - MORE_BYTES_MAX || i + 1 == count)
            continue;
        violations[i].description = more_of(draft->call, count - i);
        break;
    }
    draft->details[draft->details_count++] = &bad->base;
}

static void add_precondition(struct status_draft *draft, const char *subject)
{
    Google__Rpc__PreconditionFailure *failure = stub_call_alloc(draft->call, sizeof(*failure));
    Google__Rpc__PreconditionFailure__Violation *violation =
        stub_call_alloc(draft->call, sizeof(*violation));

    google__rpc__precondition_failure__init(failure);
    google__rpc__precondition_failure__violation__init(violation);
    violation->type = text_of(draft->reason);
    violation->subject = text_of(clip(draft->call, subject, PATH_BYTES_MAX));
    violation->description = text_of(draft->text);
    failure->violations = stub_call_alloc(draft->call, sizeof(*failure->violations));
    failure->violations[0] = violation;
    failure->n_violations = 1;
    draft->details[draft->details_count++] = &failure->base;
}

static void add_retry_info(struct status_draft *draft)
{
    Google__Rpc__RetryInfo *retry = stub_call_alloc(draft->call, sizeof(*retry));
    Google__Protobuf__Duration *delay = stub_call_alloc(draft->call, sizeof(*delay));

    google__rpc__retry_info__init(retry);
    google__protobuf__duration__init(delay);
    delay->seconds = draft->retry_ms / 1000;
    delay->nanos = (int32_t)(draft->retry_ms % 1000 * 1000000);
    retry->retry_delay = delay;
    draft->details[draft->details_count++] = &retry->base;
}

static void draft_send(struct status_draft *draft)
{
    if (draft->code == STUB_INTERNAL)
        log_every(&draft->services->internal_log, LOG_ERROR, "rpc",
                  "call.failed method=%s reason=%s text=%s", stub_call_method(draft->call),
                  draft->reason, LOG_VALUE(draft->text));
    else
        log_debug("rpc", "call.failed method=%s code=%s reason=%s text=%s",
                  stub_call_method(draft->call), stub_code_name(draft->code), draft->reason,
                  LOG_VALUE(draft->text));
    stub_call_fail(draft->call, draft->code, draft->text, draft->details, draft->details_count);
}

void failure_answer(struct services *services, struct stub_call *call, const struct op_error *error,
                    const struct failure_fact *facts, size_t facts_count)
{
    const struct failure_row *row = &rows[error->failure];
    struct status_draft draft = {
        .call = call,
        .services = services,
        .code = row->code,
        .reason = row->reason,
        .text = clip(call, error->text ? error->text : row->text, TEXT_BYTES_MAX),
        .effect_unknown = error->effect_unknown,
        .retry_ms = row->retry_ms,
    };

    CHECK(error->failure > FAILURE_NONE && error->failure < FAILURE_COUNT);
    add_error_info(&draft, facts, facts_count);
    add_bad_request(&draft, error->fields, error->fields_count);
    if (draft.code == STUB_FAILED_PRECONDITION)
        add_precondition(&draft, error->fields_count ? error->fields[0].field : "job");
    if (draft.retry_ms > 0)
        add_retry_info(&draft);
    draft_send(&draft);
}

void failure_reject(void *user, struct stub_call *call, const struct stub_reject *reject)
{
    const struct rpc *rpc = user;
    bool bound = reject->kind == STUB_REJECT_BOUND;
    struct op_field field = {.field = reject->field, .description = reject->text};
    struct status_draft draft = {
        .call = call,
        .services = rpc->services,
        .code = bound ? STUB_RESOURCE_EXHAUSTED : STUB_INVALID_ARGUMENT,
        .reason = bound ? "OVERLOADED" : "MALFORMED_MESSAGE",
        .text = clip(call, reject->text, TEXT_BYTES_MAX),
    };

    stub_call_add_initial_static(call, "holdfast-server", rpc->services->server_name);
    add_error_info(&draft, NULL, 0);
    add_bad_request(&draft, &field, reject->field[0] ? 1 : 0);
    draft_send(&draft);
}
