#include "stub/call_stage.h"

#include "stub/runtime.h"

/* --- what is true in each stage ---------------------------------------------------------------- */

static bool is_new(const void *owner)
{
    const struct stub_call *call = owner;

    return !call->core && call->queue.count == 0 && call->callbacks == 0 && !call->on_closed &&
           call->out == OUT_NONE && call->close == CLOSE_UNASKED && call->read == READ_NONE;
}

static bool is_begun(const void *owner)
{
    const struct stub_call *call = owner;

    return call->core && atomic_load_explicit(&call->refs, memory_order_relaxed) > 0;
}

static bool is_ended(const void *owner)
{
    return is_begun(owner) && ((const struct stub_call *)owner)->status != STUB_OK;
}

static bool is_sealed(const struct stub_call *call)
{
    return call->life == CALL_ENDED || call->life == CALL_ANSWERED;
}

static bool has_nothing_queued(const void *owner)
{
    return ((const struct stub_call *)owner)->queue.count == 0;
}

static bool is_idle(const void *owner)
{
    return has_nothing_queued(owner) && ((const struct stub_call *)owner)->life == CALL_OPEN;
}

static bool has_status_out(const void *owner)
{
    const struct stub_call *call = owner;

    return has_nothing_queued(call) && is_sealed(call) && call->close != CLOSE_UNASKED &&
           call->close != CLOSE_SHARED;
}

static bool has_all_out(const void *owner)
{
    const struct stub_call *call = owner;

    return has_nothing_queued(call) && call->life == CALL_ANSWERED && call->close == CLOSE_SHARED;
}

static bool is_dead(const void *owner)
{
    return has_nothing_queued(owner) && ((const struct stub_call *)owner)->close != CLOSE_SHARED;
}

static bool is_over(const void *owner)
{
    const struct stub_call *call = owner;

    return call->out == OUT_DEAD || call->out == OUT_LAST;
}

static bool has_callback_to_come(const void *owner)
{
    const struct stub_call *call = owner;

    return is_over(call) && call->callbacks > 0 && call->on_closed;
}

static bool has_no_callback(const void *owner)
{
    const struct stub_call *call = owner;

    return is_over(call) && call->callbacks == 0 && !call->on_closed;
}

static bool has_reader(const void *owner)
{
    return ((const struct stub_call *)owner)->on_message && is_begun(owner);
}

/* --- the tables --------------------------------------------------------------------------------- */

static const struct stage_rule life_rules[] = {
    [CALL_FREE] = {"free", STAGE(CALL_POSTED), is_new},
    [CALL_POSTED] = {"posted", STAGE(CALL_OPEN) | STAGE(CALL_FREE), is_new},
    [CALL_OPEN] = {"open", STAGE(CALL_ENDED) | STAGE(CALL_ANSWERED), is_begun},
    [CALL_ENDED] = {"ended", STAGE(CALL_ANSWERED), is_ended},
    [CALL_ANSWERED] = {"answered", STAGE(CALL_FREE), is_begun},
};

static const struct stage_rule out_rules[] = {
    [OUT_NONE] = {"none", STAGE(OUT_BUSY) | STAGE(OUT_STATUS) | STAGE(OUT_LAST) | STAGE(OUT_DEAD),
                  NULL},
    [OUT_BUSY] = {"busy",
                  STAGE(OUT_BUSY) | STAGE(OUT_IDLE) | STAGE(OUT_STATUS) | STAGE(OUT_LAST) |
                      STAGE(OUT_DEAD),
                  is_begun},
    [OUT_IDLE] = {"idle", STAGE(OUT_BUSY) | STAGE(OUT_STATUS) | STAGE(OUT_LAST) | STAGE(OUT_DEAD),
                  is_idle},
    [OUT_STATUS] = {"status", STAGE(OUT_SENT) | STAGE(OUT_DEAD), has_status_out},
    [OUT_SENT] = {"sent", STAGE(OUT_DEAD), has_status_out},
    [OUT_LAST] = {"last", STAGE(OUT_DEAD) | STAGE(OUT_NONE), has_all_out},
    [OUT_DEAD] = {"dead", STAGE(OUT_NONE), is_dead},
};

static const struct stage_rule close_rules[] = {
    [CLOSE_UNASKED] = {"unasked", STAGE(CLOSE_ASKED) | STAGE(CLOSE_SHARED), NULL},
    [CLOSE_ASKED] = {"asked", STAGE(CLOSE_SEEN), is_begun},
    [CLOSE_SHARED] = {"shared", STAGE(CLOSE_UNASKED) | STAGE(CLOSE_WAITS) | STAGE(CLOSE_TOLD),
                      is_begun},
    [CLOSE_SEEN] = {"seen", STAGE(CLOSE_WAITS) | STAGE(CLOSE_TOLD) | STAGE(CLOSE_UNASKED), is_over},
    [CLOSE_WAITS] = {"waits", STAGE(CLOSE_TOLD), has_callback_to_come},
    [CLOSE_TOLD] = {"told", STAGE(CLOSE_UNASKED), has_no_callback},
};

static const struct stage_rule read_rules[] = {
    [READ_NONE] = {"none", STAGE(READ_ON) | STAGE(READ_PAUSED), NULL},
    [READ_ON] = {"on", STAGE(READ_PAUSED) | STAGE(READ_END), has_reader},
    [READ_PAUSED] = {"paused",
                     STAGE(READ_ON) | STAGE(READ_OWED) | STAGE(READ_END) | STAGE(READ_NONE), NULL},
    [READ_OWED] = {"owed", STAGE(READ_ON) | STAGE(READ_END) | STAGE(READ_NONE), has_reader},
    [READ_END] = {"end", STAGE(READ_NONE), NULL},
};

const struct stage_table call_life_stages = STAGE_TABLE("call.life", life_rules);
const struct stage_table call_out_stages = STAGE_TABLE("call.out", out_rules);
const struct stage_table call_close_stages = STAGE_TABLE("call.close", close_rules);
const struct stage_table call_read_stages = STAGE_TABLE("call.read", read_rules);

/* --- steps -------------------------------------------------------------------------------------- */

void call_life_step(struct stub_call *call, enum call_life to)
{
    stage_step(&call_life_stages, call->life, to, call);
    call->life = to;
}

void call_out_step(struct stub_call *call, enum call_out to)
{
    stage_step(&call_out_stages, call->out, to, call);
    call->out = to;
}

void call_close_step(struct stub_call *call, enum call_close to)
{
    stage_step(&call_close_stages, call->close, to, call);
    call->close = to;
}

void call_read_step(struct stub_call *call, enum call_read to)
{
    stage_step(&call_read_stages, call->read, to, call);
    call->read = to;
}
