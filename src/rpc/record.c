#include "rpc/record.h"

#include "base/check.h"
#include "quota/receipt.h"
#include "rpc/inbound.h"
#include "rpc/quota_state.h"
#include "rpc/validate.h"

/* What a hand made of the record may be too long for one; that is no reason to fail the Commit. */
char *record_receipt(struct op_commit *op)
{
    struct receipt receipt = {op->op.tenant, op->job_id, *op->item.settle.record};
    char *text = receipt_issue(rpc_receipt_seal(inbound_rpc(&op->op)), op->op.arena, &receipt);

    return text ? text : text_copy(op->op.arena, slice_of(NULL, 0));
}

static enum overrun valid_overrun(struct op *op, size_t index, int value)
{
    if (!valid_enum(op, FIELD_AT("actual", index, "overrun"),
                    &holdfast__v1__overrun_policy__descriptor, value))
        return OVERRUN_RECORD;
    return value == 0 ? OVERRUN_RECORD : (enum overrun)value;
}

/* Whether they are the held meters is seen under the locks; here only what the list itself says. */
void record_actual(struct op_commit *op, size_t count, Holdfast__V1__ActualAmount *const *said)
{
    struct op *base = &op->op;
    struct settle_actual *actual;

    if (count > HOLD_METERS_MAX) {
        invalid(base, FIELD("actual"), "has %zu entries, more than %d", count, HOLD_METERS_MAX);
        count = HOLD_METERS_MAX;
    }
    actual = arena_array(base->arena, count, sizeof(*actual));
    CHECK(actual);
    for (size_t i = 0; i < count; i++) {
        actual[i] = (struct settle_actual){
            .meter = valid_name(base, FIELD_AT("actual", i, "meter"), said[i]->meter, true),
            .units = valid_units(base, FIELD_AT("actual", i, "units"), said[i]->units),
            .overrun = valid_overrun(base, i, (int)said[i]->overrun),
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
