/*
 * The handlers of both services, one file each; user is the struct rpc. Each answers its call
 * exactly once, at once or from the op's done.
 */
#ifndef HOLDFAST_RPC_HANDLERS_H
#define HOLDFAST_RPC_HANDLERS_H

#include "stub/call.h"

#include "holdfast/v1/admin_service.pb-c.h"
#include "holdfast/v1/quota_service.pb-c.h"

void rpc_reserve(void *user, struct stub_call *call, const Holdfast__V1__ReserveRequest *request);
void rpc_charge(void *user, struct stub_call *call, const Holdfast__V1__ChargeRequest *request);
void rpc_commit(void *user, struct stub_call *call, const Holdfast__V1__CommitRequest *request);
void rpc_release(void *user, struct stub_call *call, const Holdfast__V1__ReleaseRequest *request);
void rpc_extend(void *user, struct stub_call *call, const Holdfast__V1__ExtendRequest *request);
void rpc_check(void *user, struct stub_call *call, const Holdfast__V1__CheckRequest *request);
void rpc_watch(void *user, struct stub_call *call, const Holdfast__V1__WatchRequest *request);
void rpc_get_reservation(void *user, struct stub_call *call,
                         const Holdfast__V1__GetReservationRequest *request);
void rpc_list_reservations(void *user, struct stub_call *call,
                           const Holdfast__V1__ListReservationsRequest *request);
void rpc_get_usage(void *user, struct stub_call *call,
                   const Holdfast__V1__GetUsageRequest *request);
void rpc_verify_receipt(void *user, struct stub_call *call,
                        const Holdfast__V1__VerifyReceiptRequest *request);

void rpc_create_tenant(void *user, struct stub_call *call,
                       const Holdfast__V1__CreateTenantRequest *request);
void rpc_update_tenant(void *user, struct stub_call *call,
                       const Holdfast__V1__UpdateTenantRequest *request);
void rpc_list_tenants(void *user, struct stub_call *call,
                      const Holdfast__V1__ListTenantsRequest *request);
void rpc_put_limit(void *user, struct stub_call *call,
                   const Holdfast__V1__PutLimitRequest *request);
void rpc_delete_limit(void *user, struct stub_call *call,
                      const Holdfast__V1__DeleteLimitRequest *request);
void rpc_list_limits(void *user, struct stub_call *call,
                     const Holdfast__V1__ListLimitsRequest *request);
void rpc_get_status(void *user, struct stub_call *call,
                    const Holdfast__V1__GetStatusRequest *request);
void rpc_accept_loss(void *user, struct stub_call *call,
                     const Holdfast__V1__AcceptLossRequest *request);
void rpc_verify_tenant(void *user, struct stub_call *call,
                       const Holdfast__V1__VerifyTenantRequest *request);
void rpc_get_reconciliation(void *user, struct stub_call *call,
                            const Holdfast__V1__GetReconciliationRequest *request);
void rpc_repair_drift(void *user, struct stub_call *call,
                      const Holdfast__V1__RepairDriftRequest *request);
void rpc_adjust(void *user, struct stub_call *call, const Holdfast__V1__AdjustRequest *request);

#endif
