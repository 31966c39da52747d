/*
 * VerifyReceipt: a receipt is genuine (rpc/ has looked at its signature); is the record what it says?
 *
 *     the tenant, or the job's record, is not there     MISSING
 *     the record differs, or cannot be read             DIFFERENT
 *     otherwise                                         FOUND
 *
 * Only the database is asked, and not what this server believes of it: it may be another one by now.
 */
#include "op/queries.h"

#include "base/check.h"
#include "op/inbox.h"
#include "op/stores.h"

static void say(struct op_verify_receipt *op, enum receipt_verdict verdict, const char *detail)
{
    op->verdict = verdict;
    op->detail = detail;
}

static void compare(struct op_verify_receipt *op, const struct settle_record *record)
{
    const char *difference;

    if (!record) {
        say(op, RECEIPT_MISSING,
            "the receipt is genuine and the job has no record: the database lost it");
        return;
    }
    difference = receipt_difference(op->op.arena, &op->receipt, record);
    if (!difference) {
        say(op, RECEIPT_FOUND, "the receipt is genuine and the record is what it says");
        return;
    }
    say(op, RECEIPT_DIFFERENT,
        arena_printf(op->op.arena, "the receipt is genuine and the record is another: %s",
                     difference));
    CHECK(op->detail);
}

static void read_record(struct op_verify_receipt *op, struct stores *stores)
{
    struct op *base = &op->op;
    struct ledger_job job = {.tenant_id = base->plan->tenant_id, .job_id = op->receipt.job_id};
    enum status status = stores->table->facts_read(stores->db, base->arena, &job, 1, &base->now_ms);

    if (status == STATUS_OK)
        compare(op, job.facts.record);
    else if (status == STATUS_CORRUPT)
        say(op, RECEIPT_DIFFERENT,
            "the receipt is genuine and the job's record cannot be read: part of it is missing");
    else
        op_fail_read(base, status, stores_sqlstate(stores));
}

static void verify(struct op *base, struct stores *stores)
{
    struct op_verify_receipt *op = container_of(base, struct op_verify_receipt, op);
    enum status status = stores->table->plan_load(stores->db, base->tenant, &base->plan);

    if (status != STATUS_OK)
        op_fail_read(base, status, stores_sqlstate(stores));
    else if (!base->plan)
        say(op, RECEIPT_MISSING,
            "the receipt is genuine and there is no such tenant: the database lost it");
    else
        read_record(op, stores);
    op_finish(base);
}

void op_verify_receipt_start(struct op_verify_receipt *op)
{
    inbox_to_desk(&op->op, verify);
}
