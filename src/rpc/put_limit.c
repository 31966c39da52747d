#include "rpc/handlers.h"

#include "base/amount.h"
#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"

#include "holdfast/v1/admin_service.stub.h"
#include "quota/times.h"

enum { OVERAGE_PERCENT_MAX = 1000, SOFT_PERCENT_DEFAULT = 90 };

enum { TIME_ZONE_BYTES_MAX = 64 };

/* Zones are whole minutes from UTC since 1972; local time stays in four digits of a year. */
#define ANCHOR_S_MIN INT64_C(63072000)
#define ANCHOR_S_MAX INT64_C(253370764799)

#define LIMIT_FIELD(member) FIELD_IN("limit", member)

static void put_limit_done(struct op *base)
{
    struct op_limit *op = container_of(base, struct op_limit, op);
    Holdfast__V1__PutLimitResponse reply = HOLDFAST__V1__PUT_LIMIT_RESPONSE__INIT;
    Holdfast__V1__QuotaState quota;

    if (inbound_failed(base))
        return;
    quota_state_fill(base->arena, &op->quota, &quota);
    reply.limit = limit_message(base->arena, &op->limit);
    reply.quota = &quota;
    reply.effective_time =
        timestamp_of(base->arena, inbound_now_ms(base) + (op->pending ? LOOK_EVERY_MS : 0));
    reply.pending = op->pending;
    reply.created = op->created;
    holdfast_v1_admin_service_put_limit_reply(inbound_call(base), &reply);
}

static enum period decode_period(struct op *op, int value)
{
    if (!valid_enum(op, LIMIT_FIELD("period"), &holdfast__v1__period__descriptor, value))
        return PERIOD_NEVER;
    if (period_known(value))
        return (enum period)value;
    invalid(op, LIMIT_FIELD("period"),
            "is required: NEVER, MINUTE, HOUR, DAY, WEEK, MONTH or YEAR");
    return PERIOD_NEVER;
}

static void decode_bound(struct op *op, const Holdfast__V1__Limit *from, struct ledger_limit *limit)
{
    switch ((int)from->bound_case) {
    case HOLDFAST__V1__LIMIT__BOUND_UNITS:
        limit->amount = valid_units(op, LIMIT_FIELD("units"), from->units);
        break;
    case HOLDFAST__V1__LIMIT__BOUND_UNLIMITED:
        limit->unlimited = true;
        limit->amount = AMOUNT_MAX;
        if (!from->unlimited)
            invalid(op, LIMIT_FIELD("unlimited"), "is false; set units instead");
        break;
    case HOLDFAST__V1__LIMIT__BOUND__NOT_SET:
        invalid(op, LIMIT_FIELD("units"), "is required, or unlimited");
    }
}

static void decode_overage_percent(struct op *op, int32_t percent, struct ledger_limit *limit)
{
    int64_t cap;

    limit->overage_kind = OVERAGE_PERCENT;
    limit->overage = percent;
    if (percent < 0 || percent > OVERAGE_PERCENT_MAX)
        invalid(op, LIMIT_FIELD("overage_percent"), "is not between 0 and %d", OVERAGE_PERCENT_MAX);
    else if (amount_valid(limit->amount) && !limit->unlimited &&
             (limit->amount / 100 > AMOUNT_MAX / (percent > 0 ? percent : 1) ||
              !amount_add(limit->amount, amount_mul_percent_floor(limit->amount, percent), &cap)))
        invalid(op, LIMIT_FIELD("overage_percent"), "makes more than 2^53-1 with the limit");
}

static void decode_overage(struct op *op, const Holdfast__V1__Limit *from,
                           struct ledger_limit *limit)
{
    int64_t cap;

    switch ((int)from->overage_case) {
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS:
        limit->overage_kind = OVERAGE_UNITS;
        limit->overage = valid_units(op, LIMIT_FIELD("overage_units"), from->overage_units);
        if (amount_valid(limit->overage) && amount_valid(limit->amount) && !limit->unlimited &&
            !amount_add(limit->amount, limit->overage, &cap))
            invalid(op, LIMIT_FIELD("overage_units"), "makes more than 2^53-1 with the limit");
        break;
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT:
        decode_overage_percent(op, from->overage_percent, limit);
        break;
    case HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED:
        limit->overage_kind = OVERAGE_UNLIMITED;
        if (!from->overage_unlimited)
            invalid(op, LIMIT_FIELD("overage_unlimited"), "is false; leave it out instead");
        break;
    case HOLDFAST__V1__LIMIT__OVERAGE__NOT_SET:
        return;
    }
    if (limit->unlimited)
        invalid(op,
                LIMIT_FIELD(limit->overage_kind == OVERAGE_UNITS     ? "overage_units"
                            : limit->overage_kind == OVERAGE_PERCENT ? "overage_percent"
                                                                     : "overage_unlimited"),
                "has no meaning together with unlimited");
}

static void decode_redis_away(struct op *op, const Holdfast__V1__Limit *from,
                              struct ledger_limit *limit)
{
    limit->redis_away = REDIS_AWAY_POSTGRES;
    if (!valid_enum(op, LIMIT_FIELD("redis_away"), &holdfast__v1__redis_away__descriptor,
                    (int)from->redis_away))
        return;
    if (redis_away_known((int)from->redis_away))
        limit->redis_away = (enum redis_away)from->redis_away;
    if (limit->redis_away == REDIS_AWAY_OPEN) {
        limit->redis_away_units =
            valid_units(op, LIMIT_FIELD("redis_away_units"), from->redis_away_units);
        if (from->redis_away_units == 0)
            invalid(op, LIMIT_FIELD("redis_away_units"),
                    "is required with redis_away OPEN: how much each server may admit uncounted");
    } else if (from->redis_away_units != 0) {
        invalid(op, LIMIT_FIELD("redis_away_units"), "has a meaning only with redis_away OPEN");
    }
}

/* Which zones there are, the database knows. */
static void decode_calendar(struct op *op, const Holdfast__V1__Limit *from,
                            struct ledger_limit *limit)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/";
    static const char short_period[] = "has no meaning with a period below DAY, or with NEVER";
    const Google__Protobuf__Timestamp *anchor = from->anchor_time;
    size_t len = strlen(from->time_zone);

    limit->time_zone = slice_of(from->time_zone, len);
    if (len > TIME_ZONE_BYTES_MAX || strspn(from->time_zone, letters) != len)
        invalid(op, LIMIT_FIELD("time_zone"),
                "is not the IANA name of a time zone, such as \"Europe/Berlin\"");
    else if (len > 0 && !period_may_have_zone(limit->period))
        invalid(op, LIMIT_FIELD("time_zone"), "%s", short_period);
    if (!anchor)
        return;
    limit->has_anchor = true;
    if (!period_may_have_zone(limit->period))
        invalid(op, LIMIT_FIELD("anchor_time"), "%s", short_period);
    else if (anchor->nanos != 0 || anchor->seconds % 60 != 0 || anchor->seconds < ANCHOR_S_MIN ||
             anchor->seconds > ANCHOR_S_MAX)
        invalid(op, LIMIT_FIELD("anchor_time"),
                "is not a whole minute of the years 1972 to 9998, without seconds");
    else
        limit->anchor_ms = anchor->seconds * 1000;
}

static struct ledger_limit decode_limit(struct op *op, const Holdfast__V1__Limit *from)
{
    struct ledger_limit limit = {0};

    limit.limit_name = valid_name(op, LIMIT_FIELD("limit_id"), from->limit_id, true);
    limit.tenant = valid_name(op, LIMIT_FIELD("tenant"), from->tenant, true);
    limit.scope = valid_scope(op, LIMIT_FIELD("scope"), from->scope);
    limit.meter = valid_name(op, LIMIT_FIELD("meter"), from->meter, true);
    (void)valid_only(op, LIMIT_FIELD("meter_kind"), &holdfast__v1__meter_kind__descriptor,
                     (int)from->meter_kind, HOLDFAST__V1__METER_KIND__METER_KIND_COUNTER);
    limit.period = decode_period(op, (int)from->period);
    decode_bound(op, from, &limit);
    limit.soft_percent = from->soft_percent ? from->soft_percent : SOFT_PERCENT_DEFAULT;
    if (from->soft_percent < 0 || from->soft_percent > 100)
        invalid(op, LIMIT_FIELD("soft_percent"), "is not between 1 and 100");
    decode_overage(op, from, &limit);
    (void)valid_only(op, LIMIT_FIELD("enforcement"), &holdfast__v1__enforcement__descriptor,
                     (int)from->enforcement, HOLDFAST__V1__ENFORCEMENT__ENFORCEMENT_ENFORCE);
    limit.max_ttl_ms = valid_ttl(op, LIMIT_FIELD("max_ttl"), from->max_ttl, 0);
    decode_redis_away(op, from, &limit);
    limit.reserved_crossings = from->reserved_crossings;
    decode_calendar(op, from, &limit);
    return limit;
}

void rpc_put_limit(void *user, struct stub_call *call, const Holdfast__V1__PutLimitRequest *request)
{
    struct op_limit *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;

    if (!inbound_begin(user, call, base, put_limit_done))
        return;
    if (request->limit) {
        op->limit = decode_limit(base, request->limit);
        op->etag = admin_etag(base, LIMIT_FIELD("etag"), request->limit->etag);
    } else {
        invalid(base, FIELD("limit"), "is required");
    }
    op->note = admin_note(base, request->note);
    op->validate_only = request->validate_only;
    if (!valid(base) || !auth_tenant(base, call, op->limit.tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_limit_put_start(op);
}
