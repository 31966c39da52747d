#include "rpc/reservation.h"

#include "base/check.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"

static void fill_counted(const struct op *op, const struct op_reservation *found,
                         Holdfast__V1__Reservation *message)
{
    size_t count = found->counted_count;
    Holdfast__V1__CountedAgainst *counted = arena_array(op->arena, count, sizeof(*counted));

    message->n_counted_against = count;
    message->counted_against =
        arena_array(op->arena, count, sizeof(Holdfast__V1__CountedAgainst *));
    CHECK(counted && message->counted_against);
    for (size_t i = 0; i < count; i++) {
        holdfast__v1__counted_against__init(&counted[i]);
        counted[i].limit_id = text_copy(op->arena, found->counted[i].limit_name);
        if (found->counted[i].period_start_ms > 0)
            counted[i].period_start = timestamp_of(op->arena, found->counted[i].period_start_ms);
        message->counted_against[i] = &counted[i];
    }
}

void reservation_fill(const struct op *op, const struct op_reservation *found,
                      Holdfast__V1__Reservation *message)
{
    struct arena *arena = op->arena;

    holdfast__v1__reservation__init(message);
    message->tenant = text_copy(arena, op->tenant);
    message->scope = text_copy(arena, found->scope);
    message->job_id = text_copy(arena, found->job_id);
    message->attempt = attempt_text(arena, found->attempt);
    message->state = (Holdfast__V1__ReservationState)found->state;
    message->n_held = found->meters_count;
    message->held = amount_messages(arena, found->meters, found->meters_count);
    if (found->record) {
        message->n_committed = found->record->entries_count;
        message->committed = committed_messages(arena, found->record);
        message->late = found->record->late;
    }
    if (found->created_ms > 0)
        message->create_time = timestamp_of(arena, found->created_ms);
    if (found->expire_ms > 0)
        message->expire_time = timestamp_of(arena, found->expire_ms);
    if (found->finish_ms > 0)
        message->finish_time = timestamp_of(arena, found->finish_ms);
    fill_counted(op, found, message);
}
