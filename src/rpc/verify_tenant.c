/*
 * VerifyTenant: how far it is goes out from the desk that reads, at most once a second; the result is the
 * last message.
 */
#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/quota_state.h"
#include "rpc/validate.h"

#include "holdfast/v1/admin_service.stub.h"

#define PROGRESS_EVERY_US INT64_C(1000000)

struct verification {
    struct op_verify verify;
    int64_t next_us; /* when the next message is due */
};

static bool send(struct op_verify *op, const struct ledger_verified *from, bool done)
{
    Holdfast__V1__VerifyTenantResponse message = HOLDFAST__V1__VERIFY_TENANT_RESPONSE__INIT;
    char *findings[VERIFY_FOUND_MAX], texts[VERIFY_FOUND_MAX][VERIFY_TEXT_BYTES];

    message.tenant = text_copy(op->op.arena, op->name);
    message.done = done;
    message.entries = from->entries;
    message.quotas = from->quotas;
    message.seals = from->seals;
    message.unsealed = from->unsealed;
    message.wrong = from->wrong;
    memcpy(texts, from->found, sizeof(texts));
    for (int i = 0; i < from->found_count; i++)
        findings[i] = texts[i];
    message.n_findings = (size_t)from->found_count;
    message.findings = findings;
    return holdfast_v1_admin_service_verify_tenant_send(inbound_call(&op->op), &message) !=
           STUB_SEND_DEAD;
}

static bool progress(struct op_verify *op, const struct ledger_verified *so_far)
{
    struct verification *verification = container_of(op, struct verification, verify);
    int64_t now_us = services_mono_us(op->op.services);

    if (now_us < verification->next_us)
        return true;
    verification->next_us = now_us + PROGRESS_EVERY_US;
    return send(op, so_far, false);
}

static void verify_tenant_done(struct op *base)
{
    struct op_verify *op = container_of(base, struct op_verify, op);

    if (inbound_failed(base))
        return;
    /* If the caller is gone there is nobody to tell. */
    (void)send(op, &op->verified, true);
    stub_call_finish(inbound_call(base));
}

void rpc_verify_tenant(void *user, struct stub_call *call,
                       const Holdfast__V1__VerifyTenantRequest *request)
{
    struct verification *verification = stub_call_alloc(call, sizeof(*verification));
    struct op_verify *op = &verification->verify;
    struct op *base = &op->op;

    if (!inbound_begin(user, call, base, verify_tenant_done))
        return;
    op->name = valid_name(base, FIELD("tenant"), request->tenant, true);
    if (!valid(base) || !auth_tenant(base, call, op->name)) {
        inbound_fail(base);
        return;
    }
    base->tenant = slice_of(NULL, 0);
    op->progress = progress;
    inbound_hold(base);
    op_verify_start(op);
}
