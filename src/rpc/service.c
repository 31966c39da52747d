#include "rpc/service.h"

#include "quota/token_seal.h"
#include "rpc/handlers.h"

#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.stub.h"

static void destroy_seal(void *seal)
{
    token_seal_destroy(seal);
}

bool rpc_init(struct rpc *rpc, struct services *services)
{
    rpc->services = services;
    if (pthread_key_create(&rpc->seal_key, destroy_seal) != 0)
        return false;
    if (pthread_key_create(&rpc->receipt_seal_key, destroy_seal) == 0)
        return true;
    pthread_key_delete(rpc->seal_key);
    return false;
}

void rpc_done(struct rpc *rpc)
{
    token_seal_destroy(pthread_getspecific(rpc->seal_key));
    token_seal_destroy(pthread_getspecific(rpc->receipt_seal_key));
    pthread_key_delete(rpc->seal_key);
    pthread_key_delete(rpc->receipt_seal_key);
}

static struct token_seal *own_seal(struct rpc *rpc, pthread_key_t key, enum token_purpose purpose)
{
    struct token_seal *seal = pthread_getspecific(key);

    if (!seal) {
        seal = token_seal_create(rpc->services->token_keys, purpose);
        CHECK(pthread_setspecific(key, seal) == 0);
    }
    return seal;
}

struct token_seal *rpc_seal(struct rpc *rpc)
{
    return own_seal(rpc, rpc->seal_key, TOKEN_OF_RESERVATION);
}

struct token_seal *rpc_receipt_seal(struct rpc *rpc)
{
    return own_seal(rpc, rpc->receipt_seal_key, TOKEN_OF_RECEIPT);
}

bool rpc_register(struct rpc *rpc, struct stub_server *server)
{
    static const struct holdfast_v1_quota_service_handlers quota = {
        .reserve = rpc_reserve,
        .charge = rpc_charge,
        .commit = rpc_commit,
        .release = rpc_release,
        .extend = rpc_extend,
        .check = rpc_check,
        .watch = rpc_watch,
        .get_reservation = rpc_get_reservation,
        .list_reservations = rpc_list_reservations,
        .get_usage = rpc_get_usage,
        .verify_receipt = rpc_verify_receipt,
    };
    static const struct holdfast_v1_admin_service_handlers admin = {
        .create_tenant = rpc_create_tenant,
        .update_tenant = rpc_update_tenant,
        .list_tenants = rpc_list_tenants,
        .put_limit = rpc_put_limit,
        .delete_limit = rpc_delete_limit,
        .list_limits = rpc_list_limits,
        .get_status = rpc_get_status,
        .verify_tenant = rpc_verify_tenant,
        .accept_loss = rpc_accept_loss,
        .get_reconciliation = rpc_get_reconciliation,
        .repair_drift = rpc_repair_drift,
        .adjust = rpc_adjust,
    };

    return holdfast_v1_quota_service_register(server, &quota, rpc) &&
           holdfast_v1_admin_service_register(server, &admin, rpc);
}
