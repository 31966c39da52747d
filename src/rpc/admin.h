/*
 * What the requests of AdminService share: notes, tenants and limits, in and out. Any thread.
 */
#ifndef HOLDFAST_RPC_ADMIN_H
#define HOLDFAST_RPC_ADMIN_H

#include "ledger/ledger.h"
#include "op/op.h"
#include "rpc/validate.h"

#include "holdfast/v1/admin_service.pb-c.h"

/* NULL is an empty note. */
struct ledger_note admin_note(struct op *op, const Holdfast__V1__ChangeNote *note);

/* An etag as this server makes them, or empty. */
struct slice admin_etag(struct op *op, struct field field, const char *etag);

Holdfast__V1__Tenant *tenant_message(struct arena *arena, const struct ledger_tenant *tenant);
Holdfast__V1__Limit *limit_message(struct arena *arena, const struct ledger_limit *limit);

/* The fields of CreateTenant and UpdateTenant; `tenant` may be NULL, which is named. */
struct ledger_tenant tenant_decode(struct op *op, const Holdfast__V1__Tenant *tenant);

#endif
