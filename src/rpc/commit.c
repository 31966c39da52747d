#include "rpc/handlers.h"

#include "base/check.h"
#include "quota/receipt.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

/* What a hand made of the record may be too long for one; that is no reason to fail the Commit. */
static char *receipt_text(struct op_commit *op)
{
    struct receipt receipt = {op->op.tenant, op->job_id, *op->item.settle.record};
    char *text = receipt_issue(rpc_receipt_seal(inbound_rpc(&op->op)), op->op.arena, &receipt);

    return text ? text : text_copy(op->op.arena, slice_of(NULL, 0));
}

static void commit_done(struct op *base)
{
    struct op_commit *op = container_of(base, struct op_commit, op);
    const struct settle_record *record = op->item.settle.record;
    Holdfast__V1__CommitResponse reply = HOLDFAST__V1__COMMIT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED;
    reply.n_committed = record->entries_count;
    reply.committed = committed_messages(base->arena, record);
    reply.replayed = op->item.settle.replayed;
    reply.late = record->late;
    reply.over_limit = record_is_over_limit(record);
    reply.commit_time = timestamp_of(base->arena, record->at_ms);
    reply.attempt = attempt_text(base->arena, record->attempt);
    reply.receipt = receipt_text(op);
    if (!op->brief) {
        reply.n_quotas = op->quotas_count;
        reply.quotas = quota_states(base->arena, op->quotas, op->quotas_count);
    }
    holdfast_v1_quota_service_commit_reply(inbound_call(base), &reply);
}

static enum overrun valid_overrun(struct op *op, size_t index, int value)
{
    if (!valid_enum(op, FIELD_AT("actual", index, "overrun"),
                    &holdfast__v1__overrun_policy__descriptor, value))
        return OVERRUN_RECORD;
    return value == 0 ? OVERRUN_RECORD : (enum overrun)value;
}

/* Whether they are the held meters is seen under the locks; here only what the list itself says. */
static void decode_actual(struct op_commit *op, const Holdfast__V1__CommitRequest *request)
{
    struct op *base = &op->op;
    size_t count = request->n_actual;
    struct settle_actual *actual;

    if (count > HOLD_METERS_MAX) {
        invalid(base, FIELD("actual"), "has %zu entries, more than %d", count, HOLD_METERS_MAX);
        count = HOLD_METERS_MAX;
    }
    actual = arena_array(base->arena, count, sizeof(*actual));
    CHECK(actual);
    for (size_t i = 0; i < count; i++) {
        const Holdfast__V1__ActualAmount *said = request->actual[i];

        actual[i] = (struct settle_actual){
            .meter = valid_name(base, FIELD_AT("actual", i, "meter"), said->meter, true),
            .units = valid_units(base, FIELD_AT("actual", i, "units"), said->units),
            .overrun = valid_overrun(base, i, (int)said->overrun),
        };
        for (size_t k = 0; k < i; k++) {
            if (actual[i].meter.len == 0 || !slice_equal(actual[k].meter, actual[i].meter))
                continue;
            invalid(base, FIELD_AT("actual", i, "meter"), "is the meter of actual[%zu] again", k);
            break;
        }
    }
    op->item.settle.actual = actual;
    op->item.settle.actual_count = count;
}

static bool decode(struct op_commit *op, const Holdfast__V1__CommitRequest *request)
{
    op->item.settle.kind = SETTLE_COMMIT;
    op->brief = request->brief;
    decode_actual(op, request);
    valid_later(&op->op, FIELD("partial"), request->partial != NULL);
    valid_later(&op->op, FIELD("labels"), request->n_labels > 0);
    return inbound_job(&op->op, request->tenant, request->job_id, request->reservation_id,
                       &op->token, &op->job_id);
}

void rpc_commit(void *user, struct stub_call *call, const Holdfast__V1__CommitRequest *request)
{
    struct op_commit *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, commit_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_commit_start(op, stub_call_worker(call));
}
