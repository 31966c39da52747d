/*
 * Seals the ledger: one server does it, some seconds behind (ledger/seal.c). A turn is a bounded number of
 * entries; as long as there are more, another follows.
 */
#include "op/duty.h"

#include "op/shares.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdlib.h>

static void *create(void)
{
    struct ledger_sealing *sealing = calloc(1, sizeof(*sealing));

    CHECK(sealing);
    sealing->digest = digest_create();
    return sealing;
}

static void destroy(void *own)
{
    struct ledger_sealing *sealing = own;

    chain_signer_destroy(sealing->signer);
    digest_destroy(sealing->digest);
    free(sealing);
}

static enum duty_end seal(void *own, struct duty_tools *tools)
{
    struct ledger_sealing *sealing = own;
    struct stores *stores = tools->stores;
    enum status status;

    if (!shares_own(stores->services->shares, SHARES_HOUSE))
        return DUTY_DONE;
    if (!sealing->signer)
        sealing->signer = chain_signer_create(stores->services->token_keys);
    status = stores->table->seal_run(stores->db, &stores->scratch, sealing);
    if (status != STATUS_OK)
        return duty_failed(tools, "seal", status);
    return sealing->more ? DUTY_MORE : DUTY_DONE;
}

const struct duty duty_seal = {
    .name = "seal", .every_ms = SEAL_EVERY_MS, .create = create, .destroy = destroy, .turn = seal};
