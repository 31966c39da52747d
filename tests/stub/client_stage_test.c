/* The stages of a client's calls: the steps that lives take, and that no others are possible. */
#include "stub/client_stage.h"

#include "stub/client_stream.h"
#include "stub/unary.h"
#include "tests/stub/stage_table.h"

#include <criterion/criterion.h>
#include <signal.h>

static void deliver_nothing(stub_function *on_message, void *user, struct stub_stream *stream,
                            const ProtobufCMessage *message)
{
    (void)on_message, (void)user, (void)stream, (void)message;
}

static void deliver_no_reply(stub_function *done, void *user, const struct stub_status *status,
                             const ProtobufCMessage *reply)
{
    (void)done, (void)user, (void)status, (void)reply;
}

/* A stream that runs, as far as its stages look; nobody follows the pointer. */
static struct stub_stream *running(bool calls_back)
{
    static struct stub_stream stream;

    stream.deliver = calls_back ? deliver_nothing : NULL;
    stream.link.core = (grpc_call *)(void *)&stream;
    stream.pending = 1;
    stream_life_step(&stream, STREAM_RUNNING);
    stream_take_step(&stream, TAKE_ASKED);
    return &stream;
}

static struct unary *unary_running(bool calls_back)
{
    static struct unary unary;

    unary_life_step(&unary, UNARY_TAKEN);
    unary.deliver = calls_back ? deliver_no_reply : NULL;
    unary.link.core = (grpc_call *)(void *)&unary;
    unary_life_step(&unary, UNARY_RUNNING);
    return &unary;
}

/* --- the tables --------------------------------------------------------------------------------- */

Test(client_stage, every_stage_can_be_reached_and_comes_to_an_end)
{
    expect_recycled(&unary_life_stages, UNARY_FREE);
    expect_ends(&stream_life_stages, STREAM_NEW);
    expect_ends(&stream_send_stages, SEND_READY);
    expect_ends(&stream_take_stages, TAKE_NONE);
}

Test(client_stage, whatever_is_sent_or_taken_may_be_cut_off)
{
    for (unsigned i = SEND_READY; i < SEND_DEAD; i++)
        cr_assert(stream_send_stages.rules[i].next & STAGE(SEND_DEAD), "%u", i);
    for (unsigned i = TAKE_NONE; i < TAKE_END; i++)
        cr_assert(stream_take_stages.rules[i].next & STAGE(TAKE_END), "%u", i);
}

/* --- lives -------------------------------------------------------------------------------------- */

Test(client_stage, of_a_unary_call)
{
    struct unary *unary = unary_running(false);

    unary_life_step(unary, UNARY_OVER);
    unary->link.core = NULL;
    unary_life_step(unary, UNARY_FREE);
}

Test(client_stage, of_a_unary_call_that_asks_why)
{
    struct unary *unary = unary_running(true);

    unary_life_step(unary, UNARY_ASKS);
    unary_life_step(unary, UNARY_OVER);
}

Test(client_stage, of_a_stream_that_waits)
{
    struct stub_stream *stream = running(false);

    stream_send_step(stream, SEND_BUSY);
    stream_take_step(stream, TAKE_HERE);
    stream_take_step(stream, TAKE_ASKED);
    stream_send_step(stream, SEND_READY);
    stream_send_step(stream, SEND_CLOSING);
    stream_send_step(stream, SEND_CLOSED);
    stream_take_step(stream, TAKE_END);
    stream_life_step(stream, STREAM_OVER);
    stream_send_step(stream, SEND_DEAD);
    stream->pending = 0;
    stream_life_step(stream, STREAM_LEFT);
}

Test(client_stage, of_a_stream_that_calls_back)
{
    struct stub_stream *stream = running(true);

    stream_take_step(stream, TAKE_PAUSED);
    stream_take_step(stream, TAKE_OWED);
    stream_take_step(stream, TAKE_ASKED);
    stream_life_step(stream, STREAM_OVER);
    stream->pending = 0;
    stream_life_step(stream, STREAM_ASKS);
    stream_life_step(stream, STREAM_LEFT);
}

/* --- what is a bug -------------------------------------------------------------------------------- */

Test(client_stage, a_unary_call_that_is_over_twice, .signal = SIGABRT)
{
    struct unary *unary = unary_running(false);

    unary_life_step(unary, UNARY_OVER);
    unary_life_step(unary, UNARY_OVER);
}

Test(client_stage, a_unary_call_that_is_freed_while_it_runs, .signal = SIGABRT)
{
    struct unary *unary = unary_running(false);

    unary->link.core = NULL;
    unary_life_step(unary, UNARY_FREE);
}

Test(client_stage, a_unary_call_that_is_freed_with_its_core, .signal = SIGABRT)
{
    struct unary *unary = unary_running(false);

    unary_life_step(unary, UNARY_OVER);
    unary_life_step(unary, UNARY_FREE);
}

Test(client_stage, a_thread_that_waits_and_is_called_back, .signal = SIGABRT)
{
    unary_life_step(unary_running(false), UNARY_ASKS);
}

Test(client_stage, a_stream_that_is_left_while_batches_are_pending, .signal = SIGABRT)
{
    struct stub_stream *stream = running(false);

    stream_life_step(stream, STREAM_OVER);
    stream_life_step(stream, STREAM_LEFT);
}

Test(client_stage, a_stream_that_is_left_before_its_status, .signal = SIGABRT)
{
    struct stub_stream *stream = running(false);

    stream->pending = 0;
    stream_life_step(stream, STREAM_LEFT);
}

Test(client_stage, a_message_behind_the_half_close, .signal = SIGABRT)
{
    struct stub_stream *stream = running(false);

    stream_send_step(stream, SEND_CLOSING);
    stream_send_step(stream, SEND_BUSY);
}

Test(client_stage, a_half_close_in_front_of_messages, .signal = SIGABRT)
{
    struct stub_stream *stream = running(false);

    stream_send_step(stream, SEND_CLOSING);
    stream->queue.count = 1;
    stream_send_step(stream, SEND_CLOSED);
}

Test(client_stage, a_message_when_nothing_can_be_sent, .signal = SIGABRT)
{
    struct stub_stream *stream = running(false);

    stream_send_step(stream, SEND_DEAD);
    stream_send_step(stream, SEND_BUSY);
}

Test(client_stage, a_read_behind_the_end, .signal = SIGABRT)
{
    struct stub_stream *stream = running(false);

    stream_take_step(stream, TAKE_END);
    stream_take_step(stream, TAKE_ASKED);
}

Test(client_stage, a_pause_of_a_stream_that_waits, .signal = SIGABRT)
{
    stream_take_step(running(false), TAKE_PAUSED);
}

Test(client_stage, a_message_that_waits_for_nobody, .signal = SIGABRT)
{
    stream_take_step(running(true), TAKE_HERE);
}
