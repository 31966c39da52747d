#include "rpc/handlers.h"

#include "base/check.h"
#include "op/queries.h"
#include "quota/receipt.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static void fill(struct arena *arena, const struct receipt *receipt,
                 Holdfast__V1__VerifyReceiptResponse *reply)
{
    reply->tenant = text_copy(arena, receipt->tenant);
    reply->job_id = text_copy(arena, receipt->job_id);
    reply->attempt = attempt_text(arena, receipt->record.attempt);
    reply->scope = text_copy(arena, receipt->record.scope);
    reply->commit_time = timestamp_of(arena, receipt->record.at_ms);
    reply->late = receipt->record.late;
    reply->n_committed = receipt->record.entries_count;
    reply->committed = committed_messages(arena, &receipt->record);
}

static void verify_receipt_done(struct op *base)
{
    struct op_verify_receipt *op = container_of(base, struct op_verify_receipt, op);
    Holdfast__V1__VerifyReceiptResponse reply = HOLDFAST__V1__VERIFY_RECEIPT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.verdict = (Holdfast__V1__ReceiptVerdict)op->verdict;
    reply.detail = text_copy(base->arena, slice_from_cstr(op->detail));
    if (op->verdict != RECEIPT_FORGED)
        fill(base->arena, &op->receipt, &reply);
    holdfast_v1_quota_service_verify_receipt_reply(inbound_call(base), &reply);
}

/* Genuine for this tenant, or the one that the receipt names. False: the op has failed, or says so. */
static bool is_genuine(struct op_verify_receipt *op, struct slice tenant, struct slice text)
{
    struct op *base = &op->op;

    op->verdict = RECEIPT_FORGED;
    op->detail = "it is no receipt, or no key of this server has signed it for this tenant";
    if (text.len > TOKEN_TEXT_MAX)
        return false;
    if (tenant.len == 0 && !token_tenant(TOKEN_OF_RECEIPT, base->arena, text, &tenant))
        return false;
    if (!auth_tenant(base, inbound_call(base), tenant))
        return false;
    return receipt_verify(rpc_receipt_seal(inbound_rpc(base)), base->arena, tenant, text,
                          &op->receipt) == TOKEN_GENUINE;
}

void rpc_verify_receipt(void *user, struct stub_call *call,
                        const Holdfast__V1__VerifyReceiptRequest *request)
{
    struct op_verify_receipt *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;
    struct slice tenant;

    if (!inbound_begin(user, call, base, verify_receipt_done))
        return;
    tenant = valid_name(base, FIELD("tenant"), request->tenant, false);
    if (!*request->receipt)
        invalid(base, FIELD("receipt"), "is required");
    if (!valid(base)) {
        inbound_fail(base);
        return;
    }
    if (!is_genuine(op, tenant, slice_from_cstr(request->receipt))) {
        verify_receipt_done(base);
        return;
    }
    inbound_hold(base);
    op_verify_receipt_start(op);
}
