/*
 * VerifyTenant: a desk reads all of a tenant's books, over a connection of its own, because the database may
 * take minutes to sort them. One at a time, so that the other desks stay free.
 */
#include "op/admin.h"

#include "base/check.h"
#include "op/inbox.h"
#include "op/services.h"
#include "op/stores.h"

/* A caller's own deadline ends the stream, and progress says so; without one he waits as long as it takes. */
static bool show_progress(void *user, const struct ledger_verified *so_far)
{
    struct op_verify *op = user;
    struct services *services = op->op.services;

    return !stop_is_due(&services->stop, services_mono_us(services)) &&
           (!op->progress || op->progress(op, so_far));
}

static void read_books(struct op_verify *op, struct stores *stores)
{
    struct services *services = op->op.services;
    struct database *db = stores_connect_patiently(services);
    struct ledger_verifying how = {.tenant = op->name,
                                   .signer = chain_signer_create(services->token_keys),
                                   .progress = show_progress,
                                   .user = op};
    enum status status = stores->table->verify(db, &how, &op->verified);

    if (status == STATUS_CANCELLED)
        op_fail(&op->op, FAILURE_DEADLINE, false, "the books were not read to their end");
    else if (status != STATUS_OK)
        op_fail_read(&op->op, status, stores->table->database_sqlstate(db));
    else if (!op->verified.tenant_exists)
        op_fail(&op->op, FAILURE_UNKNOWN_TENANT, false, "there is no tenant \"%.*s\"",
                SLICE_ARGS(op->name));
    chain_signer_destroy(how.signer);
    stores->table->database_destroy(db);
}

static void verify(struct op *base, struct stores *stores)
{
    struct op_verify *op = container_of(base, struct op_verify, op);
    struct services *services = base->services;

    if (atomic_exchange(&services->verifying, true)) {
        op_fail(base, FAILURE_OVERLOADED, false,
                "this server is verifying another tenant: try again when that is done");
    } else {
        read_books(op, stores);
        atomic_store(&services->verifying, false);
    }
    op_finish(base);
}

void op_verify_start(struct op_verify *op)
{
    inbox_to_desk(&op->op, verify);
}
