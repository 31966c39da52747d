/* Slow readers: the queue by itself, then each policy on the server. */
#include "tests/stub/fixture.h"

#include "stub/queue.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;

/* --- the queue ------------------------------------------------------------------------------------ */

static struct queue queue_of(size_t messages_max, size_t bytes_max, enum stub_full when_full)
{
    struct stub_queue bounds = {messages_max, bytes_max, when_full};
    struct queue queue = {0};

    bounds = queue_bounds(&bounds);
    queue_reset(&queue, &bounds);
    return queue;
}

static enum queue_room offer(struct queue *queue, char mark, size_t bytes)
{
    grpc_slice slice = grpc_slice_malloc(bytes);
    enum queue_room room = queue_make_room(queue, bytes);

    memset(GRPC_SLICE_START_PTR(slice), mark, bytes);
    if (room == QUEUE_ROOM)
        queue_push(queue, slice);
    else
        grpc_slice_unref(slice);
    return room;
}

/* The marks of what is queued, oldest first; empties it. */
static const char *drain(struct queue *queue)
{
    static char marks[64];
    size_t count = 0;

    while (queue->count > 0) {
        grpc_slice slice = queue_pop(queue);

        marks[count++] = (char)*GRPC_SLICE_START_PTR(slice);
        grpc_slice_unref(slice);
    }
    marks[count] = '\0';
    cr_assert_eq(queue->bytes, 0);
    return marks;
}

Test(queue, keeps_the_order_while_it_grows)
{
    struct queue queue = queue_of(0, 0, STUB_FULL_WAIT);
    const char *marks;

    for (int i = 0; i < 3; i++)
        cr_assert_eq(offer(&queue, 'x', 10), QUEUE_ROOM);
    cr_assert_str_eq(drain(&queue), "xxx");
    for (int i = 0; i < 26; i++)
        cr_assert_eq(offer(&queue, (char)('a' + i), 100), QUEUE_ROOM);
    marks = drain(&queue);
    cr_assert_str_eq(marks, "abcdefghijklmnopqrstuvwxyz");
    queue_done(&queue);
}

Test(queue, has_defaults_for_zeros)
{
    struct queue queue = queue_of(0, 0, STUB_FULL_WAIT);

    cr_assert_eq(queue.bounds.messages_max, 1024);
    cr_assert_eq(queue.bounds.bytes_max, 4 << 20);
    queue_done(&queue);
}

Test(queue, lets_the_sender_wait_at_either_bound)
{
    struct queue queue = queue_of(3, 100, STUB_FULL_WAIT);

    cr_assert_eq(offer(&queue, 'a', 1), QUEUE_ROOM);
    cr_assert_eq(offer(&queue, 'b', 1), QUEUE_ROOM);
    cr_assert_eq(offer(&queue, 'c', 1), QUEUE_ROOM);
    cr_assert(queue_is_full(&queue));
    cr_assert_eq(offer(&queue, 'd', 1), QUEUE_FULL);
    cr_assert_str_eq(drain(&queue), "abc");
    cr_assert_eq(offer(&queue, 'a', 60), QUEUE_ROOM);
    cr_assert_not(queue_is_full(&queue));
    cr_assert_eq(offer(&queue, 'b', 60), QUEUE_FULL);
    cr_assert_eq(offer(&queue, 'c', 40), QUEUE_ROOM);
    cr_assert_str_eq(drain(&queue), "ac");
    cr_assert_eq(queue.dropped, 0);
    queue_done(&queue);
}

Test(queue, takes_one_that_is_larger_than_all_may_be)
{
    struct queue queue = queue_of(3, 100, STUB_FULL_WAIT);

    cr_assert_eq(offer(&queue, 'a', 1000), QUEUE_ROOM);
    cr_assert(queue_is_full(&queue));
    cr_assert_eq(offer(&queue, 'b', 0), QUEUE_FULL);
    cr_assert_str_eq(drain(&queue), "a");
    queue_done(&queue);
}

Test(queue, drops_the_oldest_until_it_fits)
{
    struct queue queue = queue_of(4, 100, STUB_FULL_DROP_OLDEST);

    for (int i = 0; i < 6; i++)
        cr_assert_eq(offer(&queue, (char)('a' + i), 10), QUEUE_ROOM);
    cr_assert_eq(queue.dropped, 2);
    cr_assert_eq(offer(&queue, 'g', 80), QUEUE_ROOM);
    cr_assert_eq(queue.dropped, 4);
    cr_assert_eq(queue.bytes, 100);
    cr_assert_str_eq(drain(&queue), "efg");
    cr_assert_eq(offer(&queue, 'h', 10), QUEUE_ROOM);
    cr_assert_eq(offer(&queue, 'i', 1000), QUEUE_ROOM);
    cr_assert_str_eq(drain(&queue), "i");
    queue_done(&queue);
}

Test(queue, keeps_only_the_latest)
{
    struct queue queue = queue_of(0, 0, STUB_FULL_KEEP_LATEST);

    for (int i = 0; i < 5; i++)
        cr_assert_eq(offer(&queue, (char)('a' + i), 50), QUEUE_ROOM);
    cr_assert_eq(queue.dropped, 4);
    cr_assert_eq(queue.bytes, 50);
    cr_assert_str_eq(drain(&queue), "e");
    queue_done(&queue);
}

Test(queue, ends_the_stream_if_told_to)
{
    struct queue queue = queue_of(1, 0, STUB_FULL_FAIL);

    cr_assert_eq(offer(&queue, 'a', 1), QUEUE_ROOM);
    cr_assert_eq(offer(&queue, 'b', 1), QUEUE_OVERRUN);
    cr_assert_str_eq(drain(&queue), "a");
    queue.bounds.when_full = STUB_FULL_ABORT;
    cr_assert_eq(offer(&queue, 'a', 1), QUEUE_ROOM);
    cr_assert_eq(offer(&queue, 'b', 1), QUEUE_OVERRUN);
    queue_done(&queue);
}

/* --- policies on the server ------------------------------------------------------------------------ */

enum { LARGE = 10000 };

/*
 * Counts inside the handler, so that nothing can drain on the only worker meanwhile: number 1 is on
 * its way at once, the others wait.
 */
struct counter {
    struct stub_queue queue;
    int to;
    int sent; /* how many were taken */
    uint64_t dropped;
    size_t queued;
    enum stub_send last;
    atomic_bool answered_late; /* after the policy had ended the call */
    atomic_int closed;
};

struct counting {
    struct counter *counter;
    struct stub_call *call;
    bool finished;
};

static void count_on(struct counting *counting)
{
    static uint8_t payload[LARGE];
    struct counter *counter = counting->counter;
    count_response response = TEST__ECHO__V1__COUNT_RESPONSE__INIT;

    response.payload = (ProtobufCBinaryData){sizeof(payload), payload};
    while (counter->sent < counter->to) {
        response.number = counter->sent + 1;
        counter->last = test_echo_v1_echo_service_count_send(counting->call, &response);
        if (counter->last != STUB_SEND_OK)
            return;
        counter->sent++;
    }
}

static void counting_closed(void *user)
{
    struct counting *counting = user;

    if (!counting->finished)
        atomic_store(&counting->counter->answered_late, stub_call_finish(counting->call));
    atomic_fetch_add(&counting->counter->closed, 1);
}

static void counting_drained(void *user)
{
    struct counting *counting = user;

    if (counting->finished)
        return;
    count_on(counting);
    if (counting->counter->sent == counting->counter->to) {
        counting->finished = true;
        stub_call_finish(counting->call);
    }
}

static void handle_count(void *user, struct stub_call *call, const count_request *request)
{
    struct counter *counter = user;
    struct counting *counting = stub_call_alloc(call, sizeof(*counting));

    (void)request;
    *counting = (struct counting){counter, call, false};
    stub_call_set_queue(call, &counter->queue);
    stub_call_on_closed(call, counting_closed, counting);
    stub_call_on_drained(call, counting_drained, counting);
    count_on(counting);
    counter->dropped = stub_call_dropped(call);
    counter->queued = stub_call_queued(call);
}

static const struct test_echo_v1_echo_service_handlers handlers = {.count = handle_count};

struct read {
    int64_t numbers[256];
    int count;
    int code;
    char message[64];
};

static struct stub_stream *open_count(struct rig *rig)
{
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;

    return test_echo_v1_echo_service_count_open(rig->channel, NULL, &request);
}

static struct read read_all(struct stub_stream *stream)
{
    struct read read = {0};
    struct stub_status st = STUB_STATUS_INIT;
    count_response *message;

    while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE) {
        cr_assert_lt(read.count, 256);
        read.numbers[read.count++] = message->number;
        test__echo__v1__count_response__free_unpacked(message, NULL);
    }
    read.code = stub_stream_close(stream, &st);
    snprintf(read.message, sizeof(read.message), "%s", st.message);
    stub_status_clear(&st);
    return read;
}

static struct read run(struct counter *counter)
{
    struct rig rig;
    struct read read;

    rig_start(&rig, &handlers, counter, NULL);
    read = read_all(open_count(&rig));
    rig_stop(&rig);
    cr_assert_eq(atomic_load(&counter->closed), 1);
    return read;
}

static void is_numbers(const struct read *read, const int64_t *numbers, int count)
{
    cr_assert_eq(read->count, count, "%d messages", read->count);
    for (int i = 0; i < count; i++)
        cr_assert_eq(read->numbers[i], numbers[i], "message %d is %ld", i, (long)read->numbers[i]);
}

Test(queue, waits_for_a_slow_reader_and_loses_nothing)
{
    struct counter counter = {.queue = {.messages_max = 4}, .to = 200};
    struct read read = run(&counter);

    cr_assert_eq(counter.queued, 4);
    cr_assert_eq(read.count, 200);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(read.numbers[i], i + 1);
    cr_assert_eq(read.code, STUB_OK);
}

Test(queue, waits_by_bytes_too)
{
    struct counter counter = {.queue = {.bytes_max = 3 * LARGE + 1000}, .to = 50};
    struct read read = run(&counter);

    cr_assert_eq(counter.queued, 3);
    cr_assert_eq(read.count, 50);
    cr_assert_eq(read.code, STUB_OK);
}

Test(queue, drops_the_oldest_for_a_slow_reader)
{
    struct counter counter = {
        .queue = {.messages_max = 4, .when_full = STUB_FULL_DROP_OLDEST}, .to = 200};
    struct read read = run(&counter);

    cr_assert_eq(counter.dropped, 195);
    cr_assert_eq(read.code, STUB_OK);
    is_numbers(&read, (int64_t[]){1, 197, 198, 199, 200}, 5);
}

Test(queue, drops_the_oldest_by_bytes_too)
{
    struct counter counter = {
        .queue = {.bytes_max = 2 * LARGE + 1000, .when_full = STUB_FULL_DROP_OLDEST}, .to = 100};
    struct read read = run(&counter);

    is_numbers(&read, (int64_t[]){1, 99, 100}, 3);
}

Test(queue, keeps_the_latest_for_a_slow_reader)
{
    struct counter counter = {.queue = {.when_full = STUB_FULL_KEEP_LATEST}, .to = 200};
    struct read read = run(&counter);

    cr_assert_eq(counter.dropped, 198);
    cr_assert_eq(counter.queued, 1);
    is_numbers(&read, (int64_t[]){1, 200}, 2);
}

Test(queue, fails_a_slow_reader_after_what_is_queued)
{
    struct counter counter = {
        .queue = {.messages_max = 4, .when_full = STUB_FULL_FAIL}, .to = 200};
    struct read read = run(&counter);

    cr_assert_eq(counter.sent, 5);
    cr_assert_eq(counter.last, STUB_SEND_DEAD);
    is_numbers(&read, (int64_t[]){1, 2, 3, 4, 5}, 5);
    cr_assert_eq(read.code, STUB_RESOURCE_EXHAUSTED);
    cr_assert_str_eq(read.message, "the reader is too slow");
    cr_assert(atomic_load(&counter.answered_late), "the handler still answers it, once");
}

Test(queue, aborts_a_slow_reader_without_what_is_queued)
{
    struct counter counter = {
        .queue = {.messages_max = 4, .when_full = STUB_FULL_ABORT}, .to = 200};
    struct read read = run(&counter);

    cr_assert_eq(counter.sent, 5);
    cr_assert_eq(counter.queued, 0);
    cr_assert_leq(read.count, 1, "%d messages", read.count);
    cr_assert_eq(read.code, STUB_RESOURCE_EXHAUSTED, "%d %s", read.code, read.message);
    cr_assert_str_eq(read.message, "the reader is too slow");
    cr_assert(atomic_load(&counter.answered_late));
}

Test(queue, is_the_servers_unless_the_handler_says_otherwise)
{
    struct echo_options options = {
        .server.queue = {.messages_max = 4, .when_full = STUB_FULL_FAIL}};
    struct fixture f = fixture_start(&options);
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct read read;

    request.to = 200;
    request.bytes = LARGE;
    read = read_all(test_echo_v1_echo_service_count_open(f.channel, NULL, &request));
    fixture_stop(&f);
    is_numbers(&read, (int64_t[]){1, 2, 3, 4, 5}, 5);
    cr_assert_eq(read.code, STUB_RESOURCE_EXHAUSTED);
}

static bool one_closed(void *user)
{
    return atomic_load(&((struct counter *)user)->closed) == 1;
}

static bool no_calls(void *user)
{
    return stub_server_calls(user) == 0;
}

Test(queue, aborts_one_that_never_reads)
{
    struct counter counter = {
        .queue = {.messages_max = 40, .when_full = STUB_FULL_ABORT}, .to = 200};
    struct rig rig;
    struct stub_stream *stream;

    rig_start(&rig, &handlers, &counter, NULL);
    stream = open_count(&rig);
    cr_assert(eventually(one_closed, &counter), "it is still there");
    cr_assert(eventually(no_calls, rig.server));
    (void)stub_stream_close(stream, NULL);
    rig_stop(&rig);
}

struct codes {
    atomic_int code, answer;
};

static void keep_codes(void *user, const struct stub_ended *ended, void *state)
{
    struct codes *codes = user;

    (void)state;
    atomic_store(&codes->code, ended->code);
    atomic_store(&codes->answer, ended->answer);
}

Test(queue, tells_interceptors_how_a_policy_ended_a_call)
{
    struct counter counter = {
        .queue = {.messages_max = 4, .when_full = STUB_FULL_ABORT}, .to = 200};
    struct codes codes = {0};
    struct stub_interceptor interceptor = {.after = keep_codes, .user = &codes};
    struct rig rig;

    rig_start(&rig, &handlers, &counter, &interceptor);
    (void)read_all(open_count(&rig));
    rig_stop(&rig);
    cr_assert_eq(atomic_load(&codes.code), STUB_RESOURCE_EXHAUSTED);
    cr_assert_eq(atomic_load(&codes.answer), STUB_RESOURCE_EXHAUSTED);
}
