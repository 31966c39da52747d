#include "rpc/quota_state.h"

#include "base/check.h"
#include "base/digits.h"
#include "quota/threshold.h"
#include "rpc/timestamps.h"

static void *array(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count, size);

    CHECK(memory);
    return memory;
}

char *text_copy(struct arena *arena, struct slice text)
{
    char *copy = arena_strndup(arena, text.data ? text.data : "", text.len);

    CHECK(copy);
    return copy;
}

char *attempt_text(struct arena *arena, struct attempt attempt)
{
    char pair[DIGITS_PAIR_MAX];
    char *text =
        arena_strndup(arena, pair, digits_write_pair(attempt.epoch, '.', attempt.seq, pair));

    CHECK(text);
    return text;
}

const char *decision_name(enum decision decision)
{
    switch (decision) {
    case DECISION_ALLOW:
        return "ALLOW";
    case DECISION_WARN:
        return "WARN";
    case DECISION_REJECT:
        return "REJECT";
    case DECISION_ALREADY_COMMITTED:
        return "ALREADY_COMMITTED";
    }
    UNREACHABLE();
}

/* The limit that stands in for none, in tenants that admit unlimited meters: it shows no name. */
static bool is_implicit(const struct op_quota *quota)
{
    struct slice prefix = SLICE("unlimited.");

    return quota->stops.unlimited && quota->scope.len == 0 &&
           slice_starts_with(quota->limit_name, prefix) &&
           slice_equal(slice_skip(quota->limit_name, prefix.len), quota->meter);
}

void quota_state_fill(struct arena *arena, const struct op_quota *quota,
                      Holdfast__V1__QuotaState *state)
{
    const struct stops *stops = &quota->stops;

    holdfast__v1__quota_state__init(state);
    if (!is_implicit(quota))
        state->limit_id = text_copy(arena, quota->limit_name);
    state->scope = text_copy(arena, quota->scope);
    state->meter = text_copy(arena, quota->meter);
    state->period = (Holdfast__V1__Period)quota->period;
    if (quota->period != PERIOD_NEVER) {
        state->period_start = timestamp_of(arena, quota->period_start_ms);
        state->period_end = timestamp_of(arena, quota->period_end_ms);
    }
    if (stops->unlimited) {
        state->bound_case = HOLDFAST__V1__QUOTA_STATE__BOUND_UNLIMITED;
        state->unlimited = 1;
    } else {
        state->bound_case = HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT;
        state->limit = stops->amount;
        state->hard_cap = stops->cap;
        state->soft_stop = stops->soft;
        state->room_case = HOLDFAST__V1__QUOTA_STATE__ROOM_REMAINING;
        state->remaining = stops->cap - op_quota_taken(quota);
    }
    state->committed = quota->committed;
    state->debt = quota->debt;
    state->held = quota->held;
    state->level = (Holdfast__V1__Level)threshold_level(stops, quota->committed + quota->debt);
    state->enforcement = HOLDFAST__V1__ENFORCEMENT__ENFORCEMENT_ENFORCE;
    state->ledger_seq = quota->ledger_seq;
    state->held_is_upper_bound = quota->held_is_upper_bound;
    state->set_aside = quota->set_aside;
    if (quota->set_aside_until_ms > 0)
        state->set_aside_until = timestamp_of(arena, quota->set_aside_until_ms);
}

Holdfast__V1__QuotaState **quota_states(struct arena *arena, const struct op_quota *quotas,
                                        size_t count)
{
    Holdfast__V1__QuotaState *states;
    Holdfast__V1__QuotaState **list;

    if (count == 0)
        return NULL;
    states = array(arena, count, sizeof(*states));
    list = array(arena, count, sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        quota_state_fill(arena, &quotas[i], &states[i]);
        list[i] = &states[i];
    }
    return list;
}

Holdfast__V1__Reason **reason_messages(struct arena *arena, const struct op_reason *reasons,
                                       size_t count)
{
    Holdfast__V1__Reason *messages;
    Holdfast__V1__Reason **list;

    if (count == 0)
        return NULL;
    messages = array(arena, count, sizeof(*messages));
    list = array(arena, count, sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        const struct op_quota *quota = reasons[i].quota;
        Holdfast__V1__Reason *message = &messages[i];

        holdfast__v1__reason__init(message);
        message->code = (Holdfast__V1__ReasonCode)reasons[i].code;
        if (quota) {
            message->limit_id = text_copy(arena, quota->limit_name);
            message->scope = text_copy(arena, quota->scope);
            message->meter = text_copy(arena, quota->meter);
        }
        message->short_by = reasons[i].short_by;
        message->retry_after = duration_or_unset(arena, reasons[i].retry_after_ms);
        message->message = text_copy(arena, slice_from_cstr(reasons[i].message));
        list[i] = message;
    }
    return list;
}

Holdfast__V1__Amount **amount_messages(struct arena *arena, const struct hold_meter *meters,
                                       size_t count)
{
    Holdfast__V1__Amount *messages;
    Holdfast__V1__Amount **list;

    if (count == 0)
        return NULL;
    messages = array(arena, count, sizeof(*messages));
    list = array(arena, count, sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        holdfast__v1__amount__init(&messages[i]);
        messages[i].meter = text_copy(arena, meters[i].meter);
        messages[i].units = meters[i].units;
        list[i] = &messages[i];
    }
    return list;
}

Holdfast__V1__CommittedAmount **committed_messages(struct arena *arena,
                                                   const struct settle_record *record)
{
    size_t count = record->entries_count;
    Holdfast__V1__CommittedAmount *messages;
    Holdfast__V1__CommittedAmount **list;

    if (count == 0)
        return NULL;
    messages = array(arena, count, sizeof(*messages));
    list = array(arena, count, sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        const struct settle_entry *entry = &record->entries[i];
        Holdfast__V1__CommittedAmount *message = &messages[i];

        holdfast__v1__committed_amount__init(message);
        message->meter = text_copy(arena, entry->meter);
        message->actual = entry->asked;
        message->committed = entry->amount;
        message->debt = entry->debt;
        message->dropped = entry->asked - entry->amount - entry->debt;
        /* A late commit finds nothing held any more: the expiry freed it. */
        if (!record->late && entry->held > entry->asked)
            message->freed = entry->held - entry->asked;
        list[i] = message;
    }
    return list;
}

bool record_is_over_limit(const struct settle_record *record)
{
    for (size_t i = 0; i < record->entries_count; i++)
        if (record->entries[i].debt > 0)
            return true;
    return false;
}
