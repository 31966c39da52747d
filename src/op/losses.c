/*
 * AcceptLoss: an admin accepts what the database has lost of a tenant (PROTOCOL.md 3.13).
 */
#include "op/admin.h"

#include "base/check.h"
#include "base/log.h"
#include "op/inbox.h"
#include "op/stores.h"

static void accept_loss(struct op *base, struct stores *stores)
{
    struct op_accept *op = container_of(base, struct op_accept, op);
    enum ledger_admin answer = ADMIN_DONE;
    enum status status =
        stores->table->losses_accept(stores->db, base->arena, &op->note, op->validate_only,
                                     base->tenant, &op->losses, &op->losses_count, &answer);

    /* It is accepted even if Redis cannot be told of the version now: the janitors will. */
    if (admin_done(base, stores, status, answer) && answer == ADMIN_DONE && !op->validate_only &&
        !admin_publish(base, stores))
        log_debug("admin", "publish.later tenant=%s", LOG_SLICE(base->tenant));
    op_finish(base);
}

void op_accept_start(struct op_accept *op)
{
    inbox_to_desk(&op->op, accept_loss);
}
