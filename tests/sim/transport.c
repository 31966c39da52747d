#include "tests/sim/transport.h"

#include "base/check.h"
#include "counter/counter.h"
#include "counter/kind.h"
#include "counter/reply.h"
#include "counter/request.h"
#include "tests/sim/fibre.h"
#include "tests/sim/stores.h"

#include <hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static struct redis *current;
static struct chaos *weather;

void transport_use(struct redis *node, struct chaos *chaos)
{
    current = node;
    weather = chaos;
}

/* Requests on their way; it belongs to the network, so that it arrives when its sender is gone. */
struct flight {
    struct redis *node;
    struct buffer bytes;
    size_t count;
    struct redisReply **replies; /* set on arrival */
    enum fate fate;
    int64_t back_us;             /* how long the answer takes */
    bool answered;
    bool abandoned; /* nobody waits */
    struct counter *counter;
};

struct counter {
    int timeout_ms;
    struct redis *node; /* NULL: not connected */
    struct request request;
    struct counter_call *head, **tail;
    size_t count;
    struct buffer out;
    struct flight *flight;
    int64_t deadline_us;
    char error[64];
};

struct counter *sim_counter_create(const struct counter_options *options)
{
    struct counter *counter = calloc(1, sizeof(*counter));

    CHECK(counter);
    counter->timeout_ms = options->timeout_ms;
    counter->tail = &counter->head;
    return counter;
}

void sim_counter_destroy(struct counter *counter)
{
    if (!counter)
        return;
    CHECK(!counter->head && !counter->flight);
    request_done(&counter->request);
    buffer_done(&counter->out);
    free(counter);
}

void sim_counter_renew(struct counter *counter)
{
    CHECK(!counter->head && !counter->flight);
    counter->node = NULL;
}

void sim_counter_add(struct counter *counter, struct counter_call *call)
{
    const struct kind *kind = kind_of(call->kind);

    CHECK(!counter->flight);
    call->guard = GUARD_PASSED;
    call->observed = (struct counter_observed){0};
    call->below_zero = slice_of(NULL, 0);
    call->scratch = NULL;
    call->by_text = false;
    call->status = STATUS_UNAVAILABLE;
    if (counter->node && counter->node->dead)
        counter->node = NULL;
    if (weather->redis_away) {
        counter->node = NULL;
        return;
    }
    if (!counter->node)
        counter->node = current;
    request_open(&counter->request, call->view.shard);
    if (!kind->write(&counter->request, call)) {
        call->status = STATUS_EXHAUSTED;
        return;
    }
    request_finish(&counter->request, "EVAL", slice_from_cstr(kind->script), &counter->out);
    call->status = STATUS_UNKNOWN;
    call->next = NULL;
    *counter->tail = call;
    counter->tail = &call->next;
    counter->count++;
}

static void free_flight(struct flight *flight)
{
    for (size_t i = 0; flight->replies && i < flight->count; i++)
        if (flight->replies[i])
            freeReplyObject(flight->replies[i]);
    free(flight->replies);
    buffer_done(&flight->bytes);
    free(flight);
}

static void answer(void *user)
{
    struct flight *flight = user;

    flight->answered = true;
    if (flight->abandoned)
        free_flight(flight);
    else
        fibre_wake(flight);
}

/* At Redis: everything is carried out, or the part that came through. */
static void arrive(void *user)
{
    struct flight *flight = user;
    struct slice bytes = slice_of(flight->bytes.data, flight->bytes.len);
    size_t count = flight->count;

    flight->replies = calloc(count, sizeof(struct redisReply *));
    CHECK(flight->replies);
    if (flight->fate == FATE_CUT)
        count = (size_t)dice_below(&weather->dice, (int64_t)count + 1);
    if (flight->fate == FATE_LOST_BEFORE || flight->node->dead ||
        (weather->redis_away && flight->node == current))
        count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t len;

        flight->replies[i] = redis_command_resp(flight->node, bytes, &len);
        bytes = slice_skip(bytes, len);
    }
    if (count < flight->count && flight->fate == FATE_DONE)
        flight->fate = FATE_CUT;
    fibres_at(fibre_now_us() + flight->back_us, answer, flight);
}

/* Every outstanding call gets this status, and the connection is closed. */
static void break_off(struct counter *counter, enum status status, const char *why)
{
    struct counter_call *next;

    snprintf(counter->error, sizeof(counter->error), "%s", why);
    for (struct counter_call *call = counter->head; call; call = next) {
        next = call->next;
        call->status = status;
    }
    counter->head = NULL;
    counter->tail = &counter->head;
    counter->count = 0;
    counter->out.len = 0;
    counter->node = NULL;
    if (counter->flight)
        counter->flight->abandoned = true;
    counter->flight = NULL;
}

enum counter_progress sim_counter_send(struct counter *counter)
{
    struct flight *flight;
    int64_t there_us;

    if (!counter->head)
        return COUNTER_DONE;
    if (counter->flight)
        return COUNTER_PENDING;
    flight = calloc(1, sizeof(*flight));
    CHECK(flight);
    *flight = (struct flight){.node = counter->node,
                              .bytes = counter->out,
                              .count = counter->count,
                              .fate = chaos_fate(weather, &weather->redis),
                              .back_us = chaos_delay_us(weather, &weather->redis)};
    counter->out = (struct buffer){0};
    if (flight->fate == FATE_REFUSED) {
        free_flight(flight);
        break_off(counter, STATUS_UNAVAILABLE, "refused by the simulation");
        return COUNTER_DONE;
    }
    there_us = chaos_delay_us(weather, &weather->redis);
    if (flight->fate == FATE_LATE)
        there_us = counter->timeout_ms * INT64_C(1000) +
                   dice_between(&weather->dice, 0, 2000000);
    counter->flight = flight;
    counter->deadline_us = fibre_now_us() + counter->timeout_ms * INT64_C(1000);
    if (there_us == 0)
        arrive(flight);
    else
        fibres_at(fibre_now_us() + there_us, arrive, flight);
    return COUNTER_PENDING;
}

static void read_answer(struct counter *counter, struct counter_call *call,
                        const struct redisReply *root)
{
    const struct kind *kind = kind_of(call->kind);
    struct reply reply;

    switch (reply_open(&reply, root, call)) {
    case REPLY_ANSWER:
        if (kind->read)
            kind->read(&reply, call);
        call->crossed = reply.crossed;
        call->status = kind->read && !reply.bad && reply_left(&reply) == 0 ? STATUS_OK
                       : reply.no_memory                                  ? STATUS_UNKNOWN
                                                                          : STATUS_CORRUPT;
        break;
    case REPLY_FAILED:
    case REPLY_NO_SCRIPT:
        snprintf(counter->error, sizeof(counter->error), "%.60s", root->str ? root->str : "?");
        CHECK_MSG(call->status != STATUS_CORRUPT ||
                      (weather->keys_lost && strncmp(counter->error, "BADCOUNT", 8) == 0),
                  "script=%s error=%s", kind->name, counter->error);
        break;
    case REPLY_OBSERVED:
        if (reply_doubts_address(call))
            counter->node = NULL;
        break;
    }
    CHECK_MSG(call->below_zero.len == 0, "held below zero: script=%s key=%.*s", kind->name,
              SLICE_ARGS(call->below_zero));
}

enum counter_progress sim_counter_receive(struct counter *counter)
{
    struct flight *flight = counter->flight;
    struct counter_call *call = counter->head, *next;

    if (!call)
        return COUNTER_DONE;
    if (flight->answered && flight->fate == FATE_DONE) {
        counter->head = NULL;
        counter->tail = &counter->head;
        counter->flight = NULL;
        for (size_t i = 0; i < flight->count; i++, call = next) {
            next = call->next;
            read_answer(counter, call, flight->replies[i]);
        }
        counter->count = 0;
        free_flight(flight);
        return COUNTER_DONE;
    }
    if (flight->answered) {
        break_off(counter, STATUS_UNKNOWN, "cut by the simulation");
        free_flight(flight);
        return COUNTER_DONE;
    }
    if (fibre_now_us() < counter->deadline_us)
        return COUNTER_PENDING;
    break_off(counter, STATUS_UNKNOWN, "no answer in time");
    return COUNTER_DONE;
}

void sim_counter_run(struct counter *counter)
{
    enum counter_progress now = sim_counter_send(counter);

    while (now == COUNTER_PENDING) {
        if (!counter->flight->answered)
            fibre_wait(counter->flight, counter->deadline_us);
        now = sim_counter_receive(counter);
    }
}

int sim_counter_fd(const struct counter *counter)
{
    (void)counter;
    return -1;
}

short sim_counter_events(const struct counter *counter)
{
    (void)counter;
    return POLLIN;
}

const char *sim_counter_last_error(const struct counter *counter)
{
    return counter->error;
}
