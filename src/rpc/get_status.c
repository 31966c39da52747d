#include "rpc/handlers.h"

#include "base/check.h"
#include "notice/hub.h"
#include "op/status.h"
#include "quota/hold.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"

#include "holdfast/v1/admin_service.stub.h"

#include <stdio.h>

static void fill_store(struct arena *arena, const char *name,
                       const struct status_store_state *state, Holdfast__V1__StoreStatus *message)
{
    holdfast__v1__store_status__init(message);
    message->store = text_copy(arena, slice_from_cstr(name));
    message->up = state->up;
    if (state->known)
        message->since = timestamp_of(arena, state->since_ms);
    message->last_error = text_copy(arena, slice_from_cstr(state->error));
    if (state->latency_us >= 0) {
        message->latency = duration_of(arena, state->latency_us / 1000);
        message->latency->nanos += (int32_t)(state->latency_us % 1000 * 1000);
    }
}

static char *fault_text(struct arena *arena, const struct alarms_state *alarms)
{
    char text[ALARMS_TEXT_BYTES + SQLSTATE_BYTES + 2] = "";

    if (alarms->faults > 0)
        snprintf(text, sizeof(text), "%s: %s", alarms->sqlstate, alarms->fault);
    return text_copy(arena, slice_from_cstr(text));
}

static void get_status_done(struct op *base)
{
    static const char *const names[STATUS_STORES] = {"redis", "postgres"};
    struct op_status *op = container_of(base, struct op_status, op);
    struct services *services = base->services;
    Holdfast__V1__GetStatusResponse reply = HOLDFAST__V1__GET_STATUS_RESPONSE__INIT;
    Holdfast__V1__StoreStatus stores[STATUS_STORES], *list[STATUS_STORES];

    if (inbound_failed(base))
        return;
    for (int i = 0; i < STATUS_STORES; i++) {
        fill_store(base->arena, names[i], &op->stores[i], &stores[i]);
        list[i] = &stores[i];
    }
    stores[STATUS_STORE_POSTGRES].faults = (int64_t)op->alarms.faults;
    stores[STATUS_STORE_POSTGRES].identity =
        text_copy(base->arena, slice_from_cstr(op->stores[STATUS_STORE_POSTGRES].identity));
    stores[STATUS_STORE_POSTGRES].failovers = op->stores[STATUS_STORE_POSTGRES].failovers;
    stores[STATUS_STORE_POSTGRES].last_fault = fault_text(base->arena, &op->alarms);
    reply.tenants_set_aside = (int32_t)op->alarms.aside_count;
    reply.version = text_copy(base->arena, SLICE(HOLDFAST_VERSION));
    reply.server = text_copy(base->arena, slice_from_cstr(services->server_name));
    reply.start_time = timestamp_of(base->arena, services->started_wall_ms);
    reply.n_stores = STATUS_STORES;
    reply.stores = list;
    reply.holds = op->holds;
    reply.holds_due = op->holds_due;
    reply.postgres_holds = op->placed;
    reply.holding_in_postgres = op->placing;
    reply.watchers = (int32_t)hub_subscribers(services->hub);
    reply.clock_offset = duration_of(base->arena, op->clock_offset_ms);
    reply.limits_per_tenant_max = (int64_t)services->options.limits_max;
    reply.limits_per_reservation_max = HOLD_QUOTAS_MAX;
    if (op->seals_known && op->seals.sealed_to_ms > 0)
        reply.seals_behind = duration_of(base->arena, op->seals.now_ms - op->seals.sealed_to_ms);
    reply.seal_gaps = op->seals.gaps;
    reply.n_read_only_tenants = op->read_only_count;
    reply.read_only_tenants = arena_array(base->arena, op->read_only_count + 1, sizeof(char *));
    CHECK(reply.read_only_tenants);
    for (size_t i = 0; i < op->read_only_count; i++)
        reply.read_only_tenants[i] = text_copy(base->arena, op->read_only[i]);
    reply.drifts = op->drifts.count;
    reply.drift_units = op->drifts.units;
    reply.drift_worst = op->drifts.worst;
    if (op->drifts.count > 0)
        reply.drift_age = duration_of(base->arena, op->drifts.oldest_ms);
    reply.draining = atomic_load(&services->draining);
    holdfast_v1_admin_service_get_status_reply(inbound_call(base), &reply);
}

void rpc_get_status(void *user, struct stub_call *call,
                    const Holdfast__V1__GetStatusRequest *request)
{
    struct op_status *op = stub_call_alloc(call, sizeof(*op));

    (void)request;
    inbound_fill(user, call, &op->op, get_status_done);
    inbound_hold(&op->op);
    op_status_start(op);
}
