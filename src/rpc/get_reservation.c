#include "rpc/handlers.h"

#include "base/check.h"
#include "op/queries.h"
#include "rpc/inbound.h"
#include "rpc/reservation.h"
#include "rpc/timestamps.h"

#include "holdfast/v1/quota_service.stub.h"

static void get_reservation_done(struct op *base)
{
    struct op_get_reservation *op = container_of(base, struct op_get_reservation, op);
    Holdfast__V1__GetReservationResponse reply = HOLDFAST__V1__GET_RESERVATION_RESPONSE__INIT;
    Holdfast__V1__Reservation reservation;

    if (inbound_failed(base))
        return;
    reservation_fill(base, &op->found, &reservation);
    reply.reservation = &reservation;
    reply.server_time = timestamp_of(base->arena, inbound_now_ms(base));
    holdfast_v1_quota_service_get_reservation_reply(inbound_call(base), &reply);
}

void rpc_get_reservation(void *user, struct stub_call *call,
                         const Holdfast__V1__GetReservationRequest *request)
{
    struct op_get_reservation *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, get_reservation_done))
        return;
    if (!inbound_job(&op->op, request->tenant, request->job_id, request->reservation_id, &op->token,
                     &op->job_id)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_get_reservation_start(op);
}
