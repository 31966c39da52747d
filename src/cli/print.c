#include "cli/print.h"

#include "cli/duration.h"
#include "cli/json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* The value's name without the prefix that protobuf's style gives it. */
static const char *short_name(const ProtobufCEnumDescriptor *type, int number, const char *prefix)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
    size_t len = strlen(prefix);

    if (!value)
        return "?";
    return strncmp(value->name, prefix, len) == 0 ? value->name + len : value->name;
}

const char *print_decision(Holdfast__V1__Decision decision)
{
    return short_name(&holdfast__v1__decision__descriptor, (int)decision, "DECISION_");
}

const char *print_state(Holdfast__V1__ReservationState state)
{
    return short_name(&holdfast__v1__reservation_state__descriptor, (int)state,
                      "RESERVATION_STATE_");
}

const char *print_verdict(Holdfast__V1__ReceiptVerdict verdict)
{
    return short_name(&holdfast__v1__receipt_verdict__descriptor, (int)verdict, "RECEIPT_VERDICT_");
}

const char *print_drift(Holdfast__V1__DriftKind kind)
{
    return short_name(&holdfast__v1__drift_kind__descriptor, (int)kind, "DRIFT_KIND_");
}

const char *print_period(Holdfast__V1__Period period)
{
    return short_name(&holdfast__v1__period__descriptor, (int)period, "PERIOD_");
}

static const char *level_text(Holdfast__V1__Level level)
{
    return short_name(&holdfast__v1__level__descriptor, (int)level, "LEVEL_");
}

static const char *kind_text(Holdfast__V1__EventKind kind)
{
    return short_name(&holdfast__v1__event_kind__descriptor, (int)kind, "EVENT_KIND_");
}

void print_time(FILE *out, const Google__Protobuf__Timestamp *time)
{
    char text[JSON_TIME_BYTES];

    fputs(time ? json_time_format(time->seconds, time->nanos / 1000000 * 1000000, text) : "-", out);
}

void print_span(FILE *out, const Google__Protobuf__Duration *span)
{
    char text[DURATION_TEXT_BYTES];

    fputs(span ? duration_format(span->seconds * 1000000 + span->nanos / 1000, text) : "-", out);
}

void print_reasons(FILE *out, size_t count, Holdfast__V1__Reason *const *reasons)
{
    for (size_t i = 0; i < count; i++) {
        const Holdfast__V1__Reason *reason = reasons[i];

        fprintf(out, "  %s: %s",
                short_name(&holdfast__v1__reason_code__descriptor, (int)reason->code,
                           "REASON_CODE_"),
                *reason->message ? reason->message : reason->limit_id);
        if (reason->retry_after) {
            fputs("; retry after ", out);
            print_span(out, reason->retry_after);
        }
        fputc('\n', out);
    }
}

void print_amounts(FILE *out, size_t count, Holdfast__V1__Amount *const *amounts)
{
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%s=%" PRId64, i ? " " : "", amounts[i]->meter, amounts[i]->units);
}

void print_committed(FILE *out, size_t count, Holdfast__V1__CommittedAmount *const *committed)
{
    for (size_t i = 0; i < count; i++) {
        const Holdfast__V1__CommittedAmount *amount = committed[i];

        fprintf(out, "  %s: %" PRId64 " used, %" PRId64 " recorded", amount->meter, amount->actual,
                amount->committed);
        if (amount->debt)
            fprintf(out, ", %" PRId64 " as debt", amount->debt);
        if (amount->dropped)
            fprintf(out, ", %" PRId64 " dropped", amount->dropped);
        fprintf(out, ", %" PRId64 " freed\n", amount->freed);
    }
}

/* The widest name of a column, at least as wide as its head. */
static int width_of(size_t count, Holdfast__V1__QuotaState *const *quotas, size_t offset,
                    const char *head)
{
    size_t width = strlen(head);

    for (size_t i = 0; i < count; i++) {
        const char *text = *(char *const *)(const void *)((const char *)quotas[i] + offset);

        if (strlen(text) > width)
            width = strlen(text);
    }
    return (int)width;
}

static void print_bound(FILE *out, const Holdfast__V1__QuotaState *quota)
{
    if (quota->bound_case == HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT)
        fprintf(out, " %12" PRId64 " %12" PRId64, quota->limit, quota->hard_cap);
    else
        fprintf(out, " %12s %12s", "unlimited", "-");
    if (quota->room_case == HOLDFAST__V1__QUOTA_STATE__ROOM_REMAINING)
        fprintf(out, " %12" PRId64, quota->remaining);
    else
        fprintf(out, " %12s", "-");
}

void print_quotas(FILE *out, size_t count, Holdfast__V1__QuotaState *const *quotas)
{
    int limit = width_of(count, quotas, offsetof(Holdfast__V1__QuotaState, limit_id), "LIMIT");
    int scope = width_of(count, quotas, offsetof(Holdfast__V1__QuotaState, scope), "SCOPE");
    int meter = width_of(count, quotas, offsetof(Holdfast__V1__QuotaState, meter), "METER");

    if (count == 0)
        return;
    fprintf(out, "  %-*s %-*s %-*s %-6s %12s %8s %12s %12s %12s %12s %12s %-9s %s\n", limit,
            "LIMIT", scope, "SCOPE", meter, "METER", "PERIOD", "USED", "DEBT", "HELD", "SET ASIDE",
            "LIMIT", "CAP", "LEFT", "LEVEL", "RESETS");
    for (size_t i = 0; i < count; i++) {
        const Holdfast__V1__QuotaState *quota = quotas[i];

        fprintf(out, "  %-*s %-*s %-*s %-6s %12" PRId64 " %8" PRId64 " %12" PRId64 " %12" PRId64,
                limit, quota->limit_id, scope, quota->scope, meter, quota->meter,
                print_period(quota->period), quota->committed, quota->debt, quota->held,
                quota->set_aside);
        print_bound(out, quota);
        fprintf(out, " %-9s ", level_text(quota->level));
        print_time(out, quota->period_end);
        if (quota->set_aside_until) {
            fputs(" (set aside until ", out);
            print_time(out, quota->set_aside_until);
            fputc(')', out);
        }
        fputs(quota->held_is_upper_bound ? " (held is an upper bound)\n" : "\n", out);
    }
}

void print_event(FILE *out, const Holdfast__V1__Event *event)
{
    print_time(out, event->time);
    fprintf(out, " #%" PRId64 " %s", event->seq, kind_text(event->kind));
    if (event->direction != HOLDFAST__V1__DIRECTION__DIRECTION_UNSPECIFIED)
        fprintf(out, " %s on %s",
                short_name(&holdfast__v1__direction__descriptor, (int)event->direction,
                           "DIRECTION_"),
                short_name(&holdfast__v1__basis__descriptor, (int)event->basis, "BASIS_"));
    fprintf(out, " %s", event->tenant);
    if (event->quota) {
        const Holdfast__V1__QuotaState *quota = event->quota;

        fprintf(out, "%s%s %s %s: %" PRId64 " used", *quota->scope ? "/" : "", quota->scope,
                quota->meter, quota->limit_id, quota->committed);
        if (quota->debt)
            fprintf(out, " + %" PRId64 " debt", quota->debt);
        fprintf(out, " + %" PRId64 " held", quota->held);
        if (quota->bound_case == HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT)
            fprintf(out, " of %" PRId64 " (cap %" PRId64 ")", quota->limit, quota->hard_cap);
    }
    if (*event->job_id)
        fprintf(out, " by %s", event->job_id);
    fputc('\n', out);
}
