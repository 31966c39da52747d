#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/page.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/admin_service.stub.h"

#include <inttypes.h>
#include <stdio.h>

struct reconciliation {
    struct op_reconciliation read;
    bool drifts_only;
};

static struct page_list list_of(struct slice tenant, bool drifts_only)
{
    return (struct page_list){"reconciliation",
                              {tenant, drifts_only ? SLICE("drifts") : SLICE("all")}};
}

static const char *action_of(const struct drift *drift, const struct drift_sums *sums)
{
    if (drift->kind == DRIFT_REDIS && sums->loss_waits)
        return "the database has lost acknowledged use, and the tenant is read-only: AcceptLoss";
    if (drift->kind == DRIFT_REDIS && sums->redis.used_seq > quota_told_seq(sums->row))
        return "the database may have lost acknowledged use, as VerifyReceipt can show; RepairDrift refuses";
    switch (drift->kind) {
    case DRIFT_LEASES:
    case DRIFT_HOLDS:
    case DRIFT_LEDGER:
        return "somebody altered it, or it is damaged: RepairDrift, which says first what it will do";
    case DRIFT_ENTRIES:
        return "entries were altered or are missing: restore them; VerifyTenant names the first";
    case DRIFT_REDIS:
        return "the next lease begins with the right totals: RepairDrift begins it now";
    }
    return "";
}

static Holdfast__V1__Drift **drift_messages(struct arena *arena, const struct op_reconciled *quota)
{
    Holdfast__V1__Drift **list = arena_array(arena, DRIFT_KINDS, sizeof(Holdfast__V1__Drift *));
    Holdfast__V1__Drift *messages = arena_array(arena, DRIFT_KINDS, sizeof(*messages));

    CHECK(list && messages);
    for (size_t i = 0; i < quota->drifts_count; i++) {
        const struct drift *drift = &quota->drifts[i];

        holdfast__v1__drift__init(&messages[i]);
        messages[i].kind = (Holdfast__V1__DriftKind)drift->kind;
        messages[i].is = drift->is;
        messages[i].other = drift->other;
        messages[i].units = drift->units;
        messages[i].action =
            text_copy(arena, slice_from_cstr(action_of(drift, &quota->sums->sums)));
        if (quota->since_ms[i] > 0)
            messages[i].since = timestamp_of(arena, quota->since_ms[i]);
        list[i] = &messages[i];
    }
    return list;
}

static Holdfast__V1__QuotaReconciliation *quota_message(struct arena *arena,
                                                        const struct op_reconciled *quota)
{
    Holdfast__V1__QuotaReconciliation *message = arena_alloc(arena, sizeof(*message));
    const struct quota_row *row = &quota->sums->row;
    const struct drift_sums *sums = &quota->sums->sums;

    CHECK(message);
    holdfast__v1__quota_reconciliation__init(message);
    message->limit_id = text_copy(arena, row->limit_name);
    message->scope = text_copy(arena, row->scope);
    message->meter = text_copy(arena, row->meter);
    message->period = (Holdfast__V1__Period)row->period;
    if (row->period != PERIOD_NEVER)
        message->period_start = timestamp_of(arena, row->ref.period_start_ms);
    message->committed = row->committed;
    message->debt = row->debt;
    message->leased = row->leased;
    message->postgres_held = row->pg_held;
    message->entries = row->ledger_seq;
    message->leases_sum = sums->leases;
    message->holds_sum = sums->holds;
    message->ledger_entries = sums->entries;
    message->ledger_committed = sums->amount;
    message->ledger_debt = sums->debt;
    message->redis_held = quota->redis_held;
    message->redis_spent = sums->redis.spent;
    message->redis_returned = sums->redis.returned;
    message->redis_used = sums->redis.used;
    message->redis_compared = drift_is_compared(sums);
    message->n_drifts = quota->drifts_count;
    message->drifts = drift_messages(arena, quota);
    return message;
}

static char *token_of(struct arena *arena, const struct page_list *list, struct quota_ref last)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, last.limit_id);
    return page_token(arena, list,
                      &(struct page){.number = last.period_start_ms,
                                     .name = slice_from_cstr(text)});
}

static void get_reconciliation_done(struct op *base)
{
    struct op_reconciliation *op = container_of(base, struct op_reconciliation, op);
    struct reconciliation *call = container_of(op, struct reconciliation, read);
    Holdfast__V1__GetReconciliationResponse reply = HOLDFAST__V1__GET_RECONCILIATION_RESPONSE__INIT;
    struct page_list list = list_of(op->name, call->drifts_only);
    struct quota_ref *refs;
    size_t count = 0;

    if (inbound_failed(base))
        return;
    refs = arena_array(base->arena, op->quotas_count, sizeof(*refs));
    reply.quotas =
        arena_array(base->arena, op->quotas_count, sizeof(Holdfast__V1__QuotaReconciliation *));
    CHECK(refs && reply.quotas);
    for (size_t i = 0; i < op->quotas_count; i++) {
        if (call->drifts_only && op->quotas[i].drifts_count == 0)
            continue;
        refs[count] = op->quotas[i].sums->row.ref;
        reply.quotas[count++] = quota_message(base->arena, &op->quotas[i]);
    }
    reply.looked_at = (int64_t)op->quotas_count;
    reply.degraded = op->degraded;
    reply.n_quotas = PAGE_FIT(reply.quotas, count);
    if (reply.n_quotas < count)
        reply.next_page_token = token_of(base->arena, &list, refs[reply.n_quotas - 1]);
    else if (op->more)
        reply.next_page_token = token_of(base->arena, &list, op->after);
    holdfast_v1_admin_service_get_reconciliation_reply(inbound_call(base), &reply);
}

void rpc_get_reconciliation(void *user, struct stub_call *call,
                            const Holdfast__V1__GetReconciliationRequest *request)
{
    struct reconciliation *reconciliation = stub_call_alloc(call, sizeof(*reconciliation));
    struct op_reconciliation *op = &reconciliation->read;
    struct op *base = &op->op;
    struct page_list list;
    struct page page;

    if (!inbound_begin(user, call, base, get_reconciliation_done))
        return;
    op->name = valid_name(base, FIELD("tenant"), request->tenant, true);
    op->max = valid_page_size(base, request->page_size);
    reconciliation->drifts_only = request->drifts_only;
    list = list_of(op->name, request->drifts_only);
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
    op_reconciliation_start(op);
}
