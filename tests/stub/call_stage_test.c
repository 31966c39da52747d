/* The stages of a server's call: the steps that lives take, and that no others are possible. */
#include "stub/runtime.h"

#include "tests/stub/stage_table.h"

#include <criterion/criterion.h>
#include <signal.h>

/* A call that Core has handed over, as far as its stages look; nobody follows the pointer. */
static struct stub_call *open_call(void)
{
    static struct stub_call call;

    call_life_step(&call, CALL_POSTED);
    call.core = (grpc_call *)(void *)&call;
    atomic_store(&call.refs, 1);
    call.callbacks = 1;
    call_life_step(&call, CALL_OPEN);
    return &call;
}

static void nothing(void *user)
{
    (void)user;
}

static void nothing_read(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    (void)user, (void)call, (void)message;
}

/* Asked for its end before the handler, as for every stream. */
static struct stub_call *open_stream(void)
{
    struct stub_call *call = open_call();

    call_close_step(call, CLOSE_ASKED);
    call->on_message = nothing_read;
    call->on_closed = nothing;
    return call;
}

/* --- the tables --------------------------------------------------------------------------------- */

Test(call_stage, every_stage_can_be_reached_and_left_for_the_next_call)
{
    expect_recycled(&call_life_stages, CALL_FREE);
    expect_recycled(&call_out_stages, OUT_NONE);
    expect_recycled(&call_close_stages, CLOSE_UNASKED);
    expect_recycled(&call_read_stages, READ_NONE);
}

Test(call_stage, an_answer_is_given_once)
{
    cr_assert_eq(call_life_stages.rules[CALL_ANSWERED].next, STAGE(CALL_FREE));
    cr_assert_eq(call_life_stages.rules[CALL_ENDED].next, STAGE(CALL_ANSWERED));
    cr_assert_eq(call_life_stages.rules[CALL_OPEN].next, STAGE(CALL_ENDED) | STAGE(CALL_ANSWERED));
}

Test(call_stage, nothing_goes_out_behind_a_status)
{
    const uint64_t sending = STAGE(OUT_BUSY) | STAGE(OUT_IDLE) | STAGE(OUT_STATUS) | STAGE(OUT_LAST);

    cr_assert_eq(call_out_stages.rules[OUT_STATUS].next & sending, 0);
    cr_assert_eq(call_out_stages.rules[OUT_SENT].next & sending, 0);
    cr_assert_eq(call_out_stages.rules[OUT_LAST].next & sending, 0);
    cr_assert_eq(call_out_stages.rules[OUT_DEAD].next & sending, 0);
}

Test(call_stage, on_closed_runs_once)
{
    cr_assert_eq(call_close_stages.rules[CLOSE_TOLD].next, STAGE(CLOSE_UNASKED));
    cr_assert_eq(call_close_stages.rules[CLOSE_WAITS].next, STAGE(CLOSE_TOLD));
}

/* --- lives -------------------------------------------------------------------------------------- */

Test(call_stage, of_a_unary_call_that_is_answered_at_once)
{
    struct stub_call *call = open_call();

    call_life_step(call, CALL_ANSWERED);
    call_close_step(call, CLOSE_SHARED);
    call_out_step(call, OUT_LAST);
    call->callbacks = 0;
    call_out_step(call, OUT_NONE);
    call_close_step(call, CLOSE_UNASKED);
    call->core = NULL;
    call_life_step(call, CALL_FREE);
}

Test(call_stage, of_a_stream)
{
    struct stub_call *call = open_stream();

    call_read_step(call, READ_ON);
    call_out_step(call, OUT_BUSY);
    call_out_step(call, OUT_IDLE);
    call_read_step(call, READ_PAUSED);
    call_read_step(call, READ_OWED);
    call_read_step(call, READ_ON);
    call_read_step(call, READ_END);
    call_life_step(call, CALL_ANSWERED);
    call_out_step(call, OUT_STATUS);
    call_out_step(call, OUT_SENT);
    call_out_step(call, OUT_DEAD);
    call_close_step(call, CLOSE_SEEN);
    call_close_step(call, CLOSE_WAITS);
    call->callbacks = 0;
    call->on_closed = NULL;
    call_close_step(call, CLOSE_TOLD);
}

Test(call_stage, of_a_request_that_never_came)
{
    struct stub_call call = {.refs = 0};

    call_life_step(&call, CALL_POSTED);
    call_life_step(&call, CALL_FREE);
}

/* --- what is a bug -------------------------------------------------------------------------------- */

Test(call_stage, a_second_answer, .signal = SIGABRT)
{
    struct stub_call *call = open_call();

    call_life_step(call, CALL_ANSWERED);
    call_life_step(call, CALL_ANSWERED);
}

Test(call_stage, a_call_that_is_recycled_before_its_answer, .signal = SIGABRT)
{
    struct stub_call *call = open_call();

    call->core = NULL;
    call->callbacks = 0;
    call_life_step(call, CALL_FREE);
}

Test(call_stage, a_call_that_is_recycled_with_its_core, .signal = SIGABRT)
{
    struct stub_call *call = open_call();

    call_life_step(call, CALL_ANSWERED);
    call->callbacks = 0;
    call_life_step(call, CALL_FREE);
}

Test(call_stage, a_call_that_ends_with_ok_by_itself, .signal = SIGABRT)
{
    call_life_step(open_call(), CALL_ENDED);
}

Test(call_stage, a_message_behind_the_last_batch, .signal = SIGABRT)
{
    struct stub_call *call = open_call();

    call_life_step(call, CALL_ANSWERED);
    call_close_step(call, CLOSE_SHARED);
    call_out_step(call, OUT_LAST);
    call_out_step(call, OUT_BUSY);
}

Test(call_stage, a_message_to_a_client_that_is_gone, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_out_step(call, OUT_DEAD);
    call_out_step(call, OUT_BUSY);
}

Test(call_stage, a_status_while_messages_wait, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_life_step(call, CALL_ANSWERED);
    call->queue.count = 1;
    call_out_step(call, OUT_STATUS);
}

Test(call_stage, a_status_without_an_answer, .signal = SIGABRT)
{
    call_out_step(open_stream(), OUT_STATUS);
}

Test(call_stage, an_idle_stream_with_something_to_send, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_out_step(call, OUT_BUSY);
    call->queue.count = 1;
    call_out_step(call, OUT_IDLE);
}

Test(call_stage, a_last_batch_that_does_not_ask_for_the_end, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_life_step(call, CALL_ANSWERED);
    call_out_step(call, OUT_LAST);
}

Test(call_stage, an_end_that_is_asked_for_twice, .signal = SIGABRT)
{
    call_close_step(open_stream(), CLOSE_SHARED);
}

Test(call_stage, an_end_of_a_call_that_still_sends, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_out_step(call, OUT_BUSY);
    call_close_step(call, CLOSE_SEEN);
}

Test(call_stage, on_closed_while_a_callback_runs, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_out_step(call, OUT_DEAD);
    call_close_step(call, CLOSE_SEEN);
    call->on_closed = NULL;
    call_close_step(call, CLOSE_TOLD);
}

Test(call_stage, on_closed_twice, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_out_step(call, OUT_DEAD);
    call_close_step(call, CLOSE_SEEN);
    call->on_closed = NULL;
    call->callbacks = 0;
    call_close_step(call, CLOSE_TOLD);
    call_close_step(call, CLOSE_TOLD);
}

Test(call_stage, a_read_that_nobody_takes, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call->on_message = NULL;
    call_read_step(call, READ_ON);
}

Test(call_stage, a_read_behind_the_end, .signal = SIGABRT)
{
    struct stub_call *call = open_stream();

    call_read_step(call, READ_ON);
    call_read_step(call, READ_END);
    call_read_step(call, READ_ON);
}
