#include "rpc/handlers.h"

#include "base/check.h"
#include "op/queries.h"
#include "rpc/request.h"
#include "rpc/reservation.h"
#include "rpc/timestamps.h"

#include "holdfast/v1/quota_service.stub.h"

static void get_reservation_done(struct op *base)
{
    struct op_get_reservation *op = container_of(base, struct op_get_reservation, op);
    Holdfast__V1__GetReservationResponse reply = HOLDFAST__V1__GET_RESERVATION_RESPONSE__INIT;
    Holdfast__V1__Reservation reservation;

    if (request_failed(base))
        return;
    reservation_fill(base, &op->found, &reservation);
    reply.reservation = &reservation;
    reply.server_time = timestamp_of(base->arena, request_now_ms(base));
    holdfast_v1_quota_service_get_reservation_reply(request_call(base), &reply);
}

void rpc_get_reservation(void *user, struct stub_call *call,
                         const Holdfast__V1__GetReservationRequest *request)
{
    struct op_get_reservation *op = stub_call_alloc(call, sizeof(*op));

    if (!request_begin(user, call, &op->op, get_reservation_done))
        return;
    if (!request_job(&op->op, request->tenant, request->job_id, request->reservation_id,
                     &op->token, &op->job_id)) {
        request_fail(&op->op);
        return;
    }
    request_hold(&op->op);
    op_get_reservation_start(op);
}
