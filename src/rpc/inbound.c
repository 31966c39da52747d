#include "rpc/inbound.h"

#include "base/check.h"
#include "quota/times.h"
#include "rpc/auth.h"
#include "rpc/failure.h"
#include "rpc/validate.h"

#include <inttypes.h>

enum { ANSWER_MARGIN_US_MAX = 50000 };

/* A little before the caller gives up, so that he still hears whether anything was done. */
static int64_t answer_margin_us(int64_t left_us)
{
    return left_us / 8 < ANSWER_MARGIN_US_MAX ? left_us / 8 : ANSWER_MARGIN_US_MAX;
}

void inbound_fill(struct rpc *rpc, struct stub_call *call, struct op *op,
                  void (*done)(struct op *op))
{
    int64_t left_us = stub_call_deadline_left_us(call);

    if (left_us == INT64_MAX)
        left_us = CALL_MS * INT64_C(1000);
    op->services = rpc->services;
    op->arena = stub_call_arena(call);
    op->done = done;
    op->give_up_us = clock_mono_us(rpc->services->clock) + left_us - answer_margin_us(left_us);
    op->user = call;
    stub_call_set_user(call, rpc);
    stub_call_add_initial_static(call, "holdfast-server", rpc->services->server_name);
}

bool inbound_begin(struct rpc *rpc, struct stub_call *call, struct op *op,
                   void (*done)(struct op *op))
{
    inbound_fill(rpc, call, op, done);
    if (atomic_load_explicit(&rpc->services->draining, memory_order_relaxed))
        op_fail(op, FAILURE_DRAINING, false,
                "this server is shutting down; repeat on another one, or when it is back");
    else if (stub_call_deadline_left_us(call) <= 0)
        op_fail(op, FAILURE_DEADLINE, false, "the deadline had passed before the call was begun");
    if (op->error.failure == FAILURE_NONE)
        return true;
    inbound_fail(op);
    return false;
}

void inbound_fail(struct op *op)
{
    failure_answer(op->services, inbound_call(op), &op->error, NULL, 0);
}

/* As inbound_fail for COMMITTED: with what was recorded in the metadata, "committed.METER". */
static void fail_committed(struct op *op, const struct settle_record *record)
{
    struct failure_fact facts[HOLD_METERS_MAX];
    size_t count = 0;

    for (size_t i = 0; record && i < record->entries_count && i < HOLD_METERS_MAX; i++) {
        const struct settle_entry *entry = &record->entries[i];

        facts[count].key = arena_printf(op->arena, "committed.%.*s", SLICE_ARGS(entry->meter));
        facts[count].value = arena_printf(op->arena, "%" PRId64, entry->amount + entry->debt);
        CHECK(facts[count].key && facts[count].value);
        count++;
    }
    failure_answer(op->services, inbound_call(op), &op->error, facts, count);
}

/* The same for BELOW_ZERO: "left.METER". */
static void fail_below_zero(struct op *op)
{
    struct failure_fact facts[HOLD_METERS_MAX];
    size_t count = 0;

    for (; count < op->error.left_count && count < HOLD_METERS_MAX; count++) {
        const struct op_left *left = &op->error.left[count];

        facts[count].key = arena_printf(op->arena, "left.%.*s", SLICE_ARGS(left->meter));
        facts[count].value = arena_printf(op->arena, "%" PRId64, left->units);
        CHECK(facts[count].key && facts[count].value);
    }
    failure_answer(op->services, inbound_call(op), &op->error, facts, count);
}

bool inbound_failed(struct op *op)
{
    if (op->error.failure == FAILURE_NONE)
        return false;
    if (op->error.failure == FAILURE_COMMITTED)
        fail_committed(op, op->error.record);
    else if (op->error.failure == FAILURE_BELOW_ZERO)
        fail_below_zero(op);
    else
        inbound_fail(op);
    return true;
}

static void release(struct op *op)
{
    stub_call_unref(inbound_call(op));
}

void inbound_hold(struct op *op)
{
    stub_call_ref(inbound_call(op));
    op->release = release;
}

int64_t inbound_now_ms(const struct op *op)
{
    if (op->now_ms > 0)
        return op->now_ms;
    return estimate_now_ms(op->services->estimate, clock_mono_us(op->services->clock));
}

/* The token if it is genuine and means this job; else reservation_id is named. */
static const struct token *verified(struct op *op, struct slice tenant, struct slice job_id,
                                    struct slice text)
{
    struct token *token = arena_zalloc(op->arena, sizeof(*token));

    CHECK(token);
    if (text.len > TOKEN_TEXT_MAX ||
        (tenant.len == 0 && !token_tenant(TOKEN_OF_RESERVATION, op->arena, text, &tenant)) ||
        token_verify(rpc_seal(inbound_rpc(op)), op->arena, tenant, text, token) != TOKEN_GENUINE) {
        invalid(op, FIELD("reservation_id"), "is damaged, or was not issued here for this tenant");
        return NULL;
    }
    if (job_id.len > 0 && !slice_equal(job_id, token->job_id)) {
        invalid(op, FIELD("reservation_id"), "is of another job than job_id");
        return NULL;
    }
    return token;
}

bool inbound_job(struct op *op, const char *tenant, const char *job_id, const char *reservation_id,
                 const struct token **ret_token, struct slice *ret_job_id)
{
    struct slice text = slice_from_cstr(reservation_id);
    bool by_token = text.len > 0;
    struct slice name = valid_name(op, FIELD("tenant"), tenant, !by_token);
    struct slice job = valid_job_id(op, FIELD("job_id"), job_id, !by_token);

    *ret_token = NULL;
    *ret_job_id = job;
    if (by_token && valid(op)) {
        *ret_token = verified(op, name, job, text);
        if (!*ret_token)
            return false;
        name = (*ret_token)->tenant;
        *ret_job_id = (*ret_token)->job_id;
    }
    return valid(op) && auth_tenant(op, inbound_call(op), name);
}
