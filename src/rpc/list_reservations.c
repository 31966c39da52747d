#include "rpc/handlers.h"

#include "base/check.h"
#include "op/queries.h"
#include "rpc/auth.h"
#include "rpc/page.h"
#include "rpc/inbound.h"
#include "rpc/reservation.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static struct page_list list_of(const struct op_list_reservations *op, struct slice tenant)
{
    return (struct page_list){"reservations", {tenant, op->scope}};
}

static void list_reservations_done(struct op *base)
{
    struct op_list_reservations *op = container_of(base, struct op_list_reservations, op);
    Holdfast__V1__ListReservationsResponse reply = HOLDFAST__V1__LIST_RESERVATIONS_RESPONSE__INIT;
    struct page_list list = list_of(op, base->tenant);
    Holdfast__V1__Reservation *reservations;

    if (inbound_failed(base))
        return;
    reservations = arena_array(base->arena, op->found_count, sizeof(*reservations));
    reply.reservations =
        arena_array(base->arena, op->found_count, sizeof(Holdfast__V1__Reservation *));
    CHECK(reservations && reply.reservations);
    for (size_t i = 0; i < op->found_count; i++) {
        reservation_fill(base, &op->found[i], &reservations[i]);
        reply.reservations[i] = &reservations[i];
    }
    reply.n_reservations = PAGE_FIT(reply.reservations, op->found_count);
    reply.degraded = op->degraded;
    if (reply.n_reservations < op->found_count) {
        const struct op_reservation *last = &op->found[reply.n_reservations - 1];

        reply.next_page_token =
            page_token(base->arena, &list,
                       &(struct page){.number = last->expire_ms, .name = last->job_id});
    } else if (op->more)
        reply.next_page_token =
            page_token(base->arena, &list,
                       &(struct page){.number = op->after_deadline_ms, .name = op->after_job_id});
    holdfast_v1_quota_service_list_reservations_reply(inbound_call(base), &reply);
}

static bool decode(struct op_list_reservations *op,
                   const Holdfast__V1__ListReservationsRequest *request)
{
    struct op *base = &op->op;
    struct slice tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    struct page_list list;
    struct page page;

    op->scope = valid_scope(base, FIELD("scope"), request->scope);
    (void)valid_only(base, FIELD("state"), &holdfast__v1__reservation_state__descriptor,
                     (int)request->state, HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD);
    op->max = valid_page_size(base, request->page_size);
    list = list_of(op, tenant);
    page = page_decode(base, &list, request->page_token);
    op->after_deadline_ms = page.number;
    op->after_job_id = page.name;
    return valid(base) && auth_tenant(base, inbound_call(base), tenant);
}

void rpc_list_reservations(void *user, struct stub_call *call,
                           const Holdfast__V1__ListReservationsRequest *request)
{
    struct op_list_reservations *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, list_reservations_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_list_reservations_start(op);
}
