#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/page.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/admin_service.stub.h"

#include <inttypes.h>
#include <stdio.h>

enum { REPAIR_PAGE_MAX = 250 };

static struct page_list list_of(const struct op_repair *op)
{
    return (struct page_list){"repair",
                              {op->name, op->limit_name,
                               op->validate_only ? SLICE("trial") : SLICE("repair")}};
}

static Holdfast__V1__Drift *drift_message(struct arena *arena, const struct repair *repair,
                                          int64_t since_ms)
{
    Holdfast__V1__Drift *message = arena_alloc(arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__drift__init(message);
    message->kind = (Holdfast__V1__DriftKind)repair->drift.kind;
    message->is = repair->drift.is;
    message->other = repair->drift.other;
    message->units = repair->drift.units;
    message->action = text_copy(arena, slice_from_cstr(repair->what));
    if (since_ms > 0)
        message->since = timestamp_of(arena, since_ms);
    return message;
}

static Holdfast__V1__DriftRepair *repair_message(struct arena *arena, const struct quota_row *row,
                                                 const struct repair *repair, int64_t since_ms)
{
    Holdfast__V1__DriftRepair *message = arena_alloc(arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__drift_repair__init(message);
    message->limit_id = text_copy(arena, row->limit_name);
    message->scope = text_copy(arena, row->scope);
    message->meter = text_copy(arena, row->meter);
    message->period = (Holdfast__V1__Period)row->period;
    if (row->period != PERIOD_NEVER)
        message->period_start = timestamp_of(arena, row->ref.period_start_ms);
    message->drift = drift_message(arena, repair, since_ms);
    message->repaired = repair->done;
    return message;
}

static char *token_of(const struct op_repair *op)
{
    struct page_list list = list_of(op);
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, op->after.limit_id);
    return page_token(op->op.arena, &list,
                      &(struct page){.number = op->after.period_start_ms,
                                     .name = slice_from_cstr(text)});
}

static void repair_drift_done(struct op *base)
{
    struct op_repair *op = container_of(base, struct op_repair, op);
    Holdfast__V1__RepairDriftResponse reply = HOLDFAST__V1__REPAIR_DRIFT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.repairs = arena_array(base->arena, op->quotas_count * DRIFT_KINDS + 1,
                                sizeof(Holdfast__V1__DriftRepair *));
    CHECK(reply.repairs);
    for (size_t i = 0; i < op->quotas_count; i++)
        for (size_t k = 0; k < op->quotas[i].repaired.count; k++)
            reply.repairs[reply.n_repairs++] =
                repair_message(base->arena, &op->quotas[i].row, &op->quotas[i].repaired.repairs[k],
                               op->since_ms[i][k]);
    reply.looked_at = op->looked_at;
    reply.degraded = op->degraded;
    if (op->more)
        reply.next_page_token = token_of(op);
    holdfast_v1_admin_service_repair_drift_reply(inbound_call(base), &reply);
}

void rpc_repair_drift(void *user, struct stub_call *call,
                      const Holdfast__V1__RepairDriftRequest *request)
{
    struct op_repair *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;
    struct page_list list;
    struct page page;

    if (!inbound_begin(user, call, base, repair_drift_done))
        return;
    op->name = valid_name(base, FIELD("tenant"), request->tenant, true);
    op->limit_name = valid_name(base, FIELD("limit_id"), request->limit_id, false);
    op->note = admin_note(base, request->note);
    op->validate_only = request->validate_only;
    op->max = valid_page_size(base, request->page_size);
    if (op->max > REPAIR_PAGE_MAX)
        op->max = REPAIR_PAGE_MAX;
    list = list_of(op);
    page = page_decode(base, &list, request->page_token);
    op->after = (struct quota_ref){.period_start_ms = page.number};
    if (page.name.len > 0 && !slice_to_i64(page.name, &op->after.limit_id))
        invalid(base, FIELD("page_token"), "is damaged");
    if (!valid(base) || !auth_tenant(base, call, op->name)) {
        inbound_fail(base);
        return;
    }
    base->tenant = slice_of(NULL, 0);
    inbound_hold(base);
    op_repair_start(op);
}
