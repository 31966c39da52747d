#include "rpc/admin.h"

#include "base/check.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"

#include <inttypes.h>

enum {
    ACTOR_BYTES_MAX = 256,
    REASON_BYTES_MAX = 1024,
    DISPLAY_NAME_BYTES_MAX = 256,
    ETAG_BYTES_MAX = 20,
};

struct ledger_note admin_note(struct op *op, const Holdfast__V1__ChangeNote *note)
{
    struct ledger_note made = {0};

    if (!note)
        return made;
    made.actor = valid_text(op, FIELD_IN("note", "actor"), note->actor, ACTOR_BYTES_MAX);
    made.reason = valid_text(op, FIELD_IN("note", "reason"), note->reason, REASON_BYTES_MAX);
    made.request_id = valid_job_id(op, FIELD_IN("note", "request_id"), note->request_id, false);
    return made;
}

struct slice admin_etag(struct op *op, struct field field, const char *etag)
{
    return valid_text(op, field, etag, ETAG_BYTES_MAX);
}

static char *etag_text(struct arena *arena, int64_t version)
{
    char *text = arena_printf(arena, "%" PRId64, version);

    CHECK(text);
    return text;
}

Holdfast__V1__Tenant *tenant_message(struct arena *arena, const struct ledger_tenant *tenant)
{
    Holdfast__V1__Tenant *message = arena_alloc(arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__tenant__init(message);
    message->tenant = text_copy(arena, tenant->tenant);
    message->display_name = text_copy(arena, tenant->display_name);
    message->state = tenant->suspended ? HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED
                                       : HOLDFAST__V1__TENANT_STATE__TENANT_STATE_ACTIVE;
    message->admit_unlimited_meters = tenant->admit_unlimited_meters;
    message->etag = etag_text(arena, tenant->version);
    message->create_time = timestamp_of(arena, tenant->created_ms);
    return message;
}

struct ledger_tenant tenant_decode(struct op *op, const Holdfast__V1__Tenant *tenant)
{
    struct ledger_tenant made = {0};

    if (!tenant) {
        invalid(op, FIELD("tenant"), "is required");
        return made;
    }
    made.tenant = valid_name(op, FIELD_IN("tenant", "tenant"), tenant->tenant, true);
    made.display_name = valid_text(op, FIELD_IN("tenant", "display_name"), tenant->display_name,
                                   DISPLAY_NAME_BYTES_MAX);
    (void)valid_enum(op, FIELD_IN("tenant", "state"), &holdfast__v1__tenant_state__descriptor,
                     (int)tenant->state);
    made.suspended = tenant->state == HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED;
    made.admit_unlimited_meters = tenant->admit_unlimited_meters;
    valid_later(op, FIELD_IN("tenant", "plan"), tenant->plan[0] != '\0');
    return made;
}

static void encode_overage(const struct ledger_limit *limit, Holdfast__V1__Limit *message)
{
    switch (limit->overage_kind) {
    case OVERAGE_NONE:
        break;
    case OVERAGE_UNITS:
        message->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS;
        message->overage_units = limit->overage;
        break;
    case OVERAGE_PERCENT:
        message->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT;
        message->overage_percent = (int32_t)limit->overage;
        break;
    case OVERAGE_UNLIMITED:
        message->overage_case = HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED;
        message->overage_unlimited = 1;
        break;
    }
}

Holdfast__V1__Limit *limit_message(struct arena *arena, const struct ledger_limit *limit)
{
    Holdfast__V1__Limit *message = arena_alloc(arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__limit__init(message);
    message->limit_id = text_copy(arena, limit->limit_name);
    message->tenant = text_copy(arena, limit->tenant);
    message->scope = text_copy(arena, limit->scope);
    message->meter = text_copy(arena, limit->meter);
    message->meter_kind = HOLDFAST__V1__METER_KIND__METER_KIND_COUNTER;
    message->period = (Holdfast__V1__Period)limit->period;
    message->time_zone = text_copy(arena, limit->time_zone);
    if (limit->has_anchor)
        message->anchor_time = timestamp_of(arena, limit->anchor_ms);
    if (limit->unlimited) {
        message->bound_case = HOLDFAST__V1__LIMIT__BOUND_UNLIMITED;
        message->unlimited = 1;
    } else {
        message->bound_case = HOLDFAST__V1__LIMIT__BOUND_UNITS;
        message->units = limit->amount;
    }
    message->soft_percent = limit->soft_percent;
    encode_overage(limit, message);
    message->enforcement = HOLDFAST__V1__ENFORCEMENT__ENFORCEMENT_ENFORCE;
    if (limit->max_ttl_ms > 0)
        message->max_ttl = duration_of(arena, limit->max_ttl_ms);
    message->redis_away = (Holdfast__V1__RedisAway)limit->redis_away;
    message->redis_away_units = limit->redis_away_units;
    message->reserved_crossings = limit->reserved_crossings;
    message->etag = etag_text(arena, limit->version);
    return message;
}
