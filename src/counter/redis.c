/*
 * One connection to Redis, its calls in the order in which their answers come.
 *
 *   CLOSED      the next counter_add connects, unless a back-off lasts: then the call is UNAVAILABLE
 *   CONNECTING  requests wait in `out`; not connected in time: all UNAVAILABLE, back to CLOSED
 *   OPEN        requests go out, answers come back in the same order
 *
 * A connection that leads to another Redis than was believed is not used again once all is answered:
 * perhaps the address leads elsewhere by now.
 *
 * Whatever goes wrong with the connection closes it: a request of which every byte was written is
 * UNKNOWN then, any other UNAVAILABLE, because Redis runs nothing that it has not read to its end.
 * A call that met NOSCRIPT goes to the end of the queue as EVAL.
 */
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "counter/counter.h"
#include "counter/endpoint.h"
#include "counter/kind.h"
#include "counter/reply.h"
#include "counter/request.h"
#include "quota/times.h"

#include <errno.h>
#include <hiredis.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SHA1_BYTES = 20,
    BACK_OFF_MIN_MS = 10,
    BACK_OFF_MAX_MS = 200,
    READ_BYTES = 64 * 1024,
    ERROR_CHARS_MAX = 160,
};

enum connection { CONNECTION_CLOSED, CONNECTION_CONNECTING, CONNECTION_OPEN };

struct counter {
    struct address address;
    int connect_timeout_ms;
    int timeout_ms;
    struct counter_life *life;
    struct counter_life own_life; /* of a connection that is the only one */
    int64_t quiet_us; /* since when nothing came on this connection while calls were waiting */
    char sha[COUNTER_KINDS][HEX_LEN(SHA1_BYTES) + 1];
    enum connection state;
    int fd;
    bool answered; /* the connection has worked */
    bool doubted;  /* it leads to another Redis than was believed */
    int back_off_ms;
    int64_t not_before_us;
    int64_t connect_by_us;
    struct redisReader *reader;
    struct request request;
    struct buffer out;
    size_t out_sent;  /* bytes of out that are written */
    bool blocked;     /* the socket was full: that it takes more shows that Redis reads */
    uint64_t written; /* bytes in the life of the connection */
    struct counter_call *head;
    struct counter_call **tail;
    struct log_limit below_zero;
    char error[ERROR_CHARS_MAX];
};

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

static void sha_of(const char *text, char out[HEX_LEN(SHA1_BYTES) + 1])
{
    unsigned char digest[SHA1_BYTES];
    unsigned int size = 0;

    CHECK(EVP_Digest(text, strlen(text), digest, &size, EVP_sha1(), NULL) == 1);
    CHECK(size == SHA1_BYTES);
    hex_encode(digest, sizeof(digest), out);
}

struct counter *counter_create(const struct counter_options *options)
{
    const struct address_use use = {0};
    struct counter *counter = calloc(1, sizeof(*counter));
    char error[ADDRESS_ERROR_BYTES];

    CHECK(counter);
    CHECK(options->connect_timeout_ms > 0 && options->timeout_ms > 0);
    CHECK_MSG(address_parse(slice_from_cstr(options->address), &use, &counter->address, error),
              "%s", error);
    counter->connect_timeout_ms = options->connect_timeout_ms;
    counter->timeout_ms = options->timeout_ms;
    counter->life = options->life ? options->life : &counter->own_life;
    counter->fd = -1;
    counter->tail = &counter->head;
    for (int kind = 0; kind < COUNTER_KINDS; kind++)
        sha_of(kind_of((enum counter_kind)kind)->script, counter->sha[kind]);
    return counter;
}

/* --- the connection --------------------------------------------------------------------------- */

static void close_connection(struct counter *counter)
{
    int delay_ms = 0;

    if (!counter->answered) {
        delay_ms = counter->back_off_ms ? counter->back_off_ms : BACK_OFF_MIN_MS;
        counter->back_off_ms = 2 * delay_ms < BACK_OFF_MAX_MS ? 2 * delay_ms : BACK_OFF_MAX_MS;
    }
    counter->not_before_us = now_us() + delay_ms * INT64_C(1000);
    if (counter->fd >= 0)
        close(counter->fd);
    if (counter->reader)
        redisReaderFree(counter->reader);
    counter->fd = -1;
    counter->reader = NULL;
    counter->state = CONNECTION_CLOSED;
    counter->out.len = 0;
    counter->out_sent = 0;
}

void counter_renew(struct counter *counter)
{
    CHECK(!counter->head);
    if (counter->state != CONNECTION_CLOSED)
        close_connection(counter);
}

void counter_destroy(struct counter *counter)
{
    if (!counter)
        return;
    CHECK(!counter->head);
    close_connection(counter);
    request_done(&counter->request);
    buffer_done(&counter->out);
    free(counter);
}

/* Every outstanding call gets its status, and the connection is closed. */
static void break_connection(struct counter *counter, const char *why, const char *detail)
{
    struct counter_call *call = counter->head;

    snprintf(counter->error, sizeof(counter->error), "%s%s%s", why, *detail ? ": " : "", detail);
    counter->head = NULL;
    counter->tail = &counter->head;
    while (call) {
        struct counter_call *next = call->next;

        call->status = call->end <= counter->written ? STATUS_UNKNOWN : STATUS_UNAVAILABLE;
        call = next;
    }
    close_connection(counter);
}

/* Redis is there. */
static void note_life(struct counter *counter)
{
    counter->quiet_us = now_us();
    atomic_store_explicit(&counter->life->heard_us, counter->quiet_us, memory_order_relaxed);
}

/* How long the calls that are out may go on waiting. */
static int64_t wait_until_us(const struct counter *counter)
{
    int64_t heard_us = atomic_load_explicit(&counter->life->heard_us, memory_order_relaxed);
    int64_t timeout_us = counter->timeout_ms * INT64_C(1000);
    int64_t lone_us = REDIS_LONE_MS * INT64_C(1000);
    int64_t silent_us = (heard_us > counter->quiet_us ? heard_us : counter->quiet_us) + timeout_us;
    int64_t alone_us = counter->quiet_us + (lone_us > timeout_us ? lone_us : timeout_us);

    return silent_us < alone_us ? silent_us : alone_us;
}

static bool begin_connecting(struct counter *counter)
{
    int64_t now = now_us();

    if (now < counter->not_before_us)
        return false;
    counter->answered = false;
    counter->doubted = false;
    counter->blocked = false;
    counter->fd = endpoint_connect(&counter->address);
    if (counter->fd < 0) {
        break_connection(counter, "cannot connect", errno ? strerror(errno) : "unknown host");
        return false;
    }
    counter->reader = redisReaderCreate();
    CHECK(counter->reader);
    counter->state = CONNECTION_CONNECTING;
    counter->connect_by_us = now + counter->connect_timeout_ms * INT64_C(1000);
    counter->written = 0;
    return true;
}

/* True once it is open; false while it is not, or when that failed. */
static bool finish_connecting(struct counter *counter)
{
    struct pollfd item = {.fd = counter->fd, .events = POLLOUT};
    int error;

    if (counter->state != CONNECTION_CONNECTING)
        return counter->state == CONNECTION_OPEN;
    if (poll(&item, 1, 0) <= 0) {
        if (now_us() >= counter->connect_by_us)
            break_connection(counter, "cannot connect", "no answer in time");
        return false;
    }
    error = endpoint_connected(counter->fd);
    if (error) {
        break_connection(counter, "cannot connect", strerror(error));
        return false;
    }
    counter->state = CONNECTION_OPEN;
    counter->quiet_us = now_us();
    return true;
}

/* An idle connection that Redis has closed meanwhile must not swallow the next call. */
static void notice_closed(struct counter *counter)
{
    char byte;
    ssize_t got;

    if (counter->state != CONNECTION_OPEN || counter->head)
        return;
    got = recv(counter->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got >= 0 || (errno != EAGAIN && errno != EINTR))
        break_connection(counter, "closed by Redis", "");
}

/* --- calls ------------------------------------------------------------------------------------- */

static bool encode(struct counter *counter, struct counter_call *call, bool by_sha)
{
    const struct kind *kind = kind_of(call->kind);

    request_open(&counter->request, call->view.shard);
    if (!kind->write(&counter->request, call))
        return false;
    request_finish(&counter->request, by_sha ? "EVALSHA" : "EVAL",
                   slice_from_cstr(by_sha ? counter->sha[call->kind] : kind->script),
                   &counter->out);
    call->end = counter->written + (counter->out.len - counter->out_sent);
    call->next = NULL;
    *counter->tail = call;
    counter->tail = &call->next;
    return true;
}

void counter_add(struct counter *counter, struct counter_call *call)
{
    CHECK(call->arena || call->kind == COUNTER_INIT || call->kind == COUNTER_OBSERVE);
    call->guard = GUARD_PASSED;
    call->observed = (struct counter_observed){0};
    call->below_zero = slice_of(NULL, 0);
    call->scratch = NULL;
    call->by_text = false;
    call->status = STATUS_UNAVAILABLE;
    notice_closed(counter);
    if (counter->doubted && !counter->head)
        counter_renew(counter);
    if (counter->state == CONNECTION_CLOSED && !begin_connecting(counter))
        return;
    if (!counter->head)
        counter->quiet_us = now_us();
    call->status = encode(counter, call, true) ? STATUS_UNKNOWN : STATUS_EXHAUSTED;
}

static enum counter_progress progress(const struct counter *counter)
{
    return counter->head ? COUNTER_PENDING : COUNTER_DONE;
}

/* False: the connection is gone. */
static bool write_out(struct counter *counter)
{
    while (counter->out_sent < counter->out.len) {
        ssize_t sent = send(counter->fd, counter->out.data + counter->out_sent,
                            counter->out.len - counter->out_sent, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            counter->blocked = true;
            return true;
        }
        if (sent < 0) {
            break_connection(counter, "cannot send", strerror(errno));
            return false;
        }
        if (counter->blocked)
            note_life(counter);
        counter->blocked = false;
        counter->out_sent += (size_t)sent;
        counter->written += (uint64_t)sent;
    }
    counter->out.len = 0;
    counter->out_sent = 0;
    return true;
}

static void keep_error(struct counter *counter, const struct redisReply *root)
{
    if (root->type == REDIS_REPLY_ERROR && strncmp(root->str, "NOAUTH ", 7) == 0)
        snprintf(counter->error, sizeof(counter->error),
                 "%s It wants a password, which is not supported: bind it to loopback or a unix "
                 "socket, and set no requirepass",
                 root->str);
    else if (root->type == REDIS_REPLY_ERROR)
        snprintf(counter->error, sizeof(counter->error), "%s", root->str);
    else
        snprintf(counter->error, sizeof(counter->error), "an answer of another shape");
}

static void read_answer(struct counter *counter, struct counter_call *call, struct reply *reply)
{
    const struct kind *kind = kind_of(call->kind);

    if (kind->read)
        kind->read(reply, call);
    call->crossed = reply->crossed;
    if (!kind->read || reply->bad || reply_left(reply) > 0) {
        call->status = reply->no_memory ? STATUS_UNKNOWN : STATUS_CORRUPT;
        keep_error(counter, reply->root);
        return;
    }
    call->status = STATUS_OK;
    if (call->below_zero.len)
        log_every(&counter->below_zero, LOG_ERROR, "counter", "held.below_zero script=%s key=%s",
                  kind->name, LOG_SLICE(call->below_zero));
}

/* False: Redis said something that nobody asked for. */
static bool take_reply(struct counter *counter, const struct redisReply *root)
{
    struct counter_call *call = counter->head;
    struct reply reply;

    if (!call)
        return false;
    counter->answered = true;
    counter->back_off_ms = 0;
    counter->head = call->next;
    if (!counter->head)
        counter->tail = &counter->head;
    switch (reply_open(&reply, root, call)) {
    case REPLY_ANSWER:
        read_answer(counter, call, &reply);
        break;
    case REPLY_FAILED:
        keep_error(counter, root);
        break;
    case REPLY_NO_SCRIPT:
        call->by_text = true;
        call->status = encode(counter, call, false) ? STATUS_UNKNOWN : STATUS_EXHAUSTED;
        break;
    case REPLY_OBSERVED:
        counter->doubted = counter->doubted || reply_doubts_address(call);
        break;
    }
    return true;
}

/* False: the connection is gone. */
static bool take_replies(struct counter *counter)
{
    void *root = NULL;

    while (redisReaderGetReply(counter->reader, &root) == REDIS_OK) {
        bool expected;

        if (!root)
            return true;
        expected = take_reply(counter, root);
        freeReplyObject(root);
        if (!expected) {
            break_connection(counter, "an answer too many", "");
            return false;
        }
    }
    break_connection(counter, "broken answer", counter->reader->errstr);
    return false;
}

/* False: the connection is gone. */
static bool read_in(struct counter *counter)
{
    char bytes[READ_BYTES];

    while (counter->head) {
        ssize_t got = recv(counter->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got <= 0) {
            break_connection(counter, "closed by Redis", got < 0 ? strerror(errno) : "");
            return false;
        }
        note_life(counter);
        CHECK(redisReaderFeed(counter->reader, bytes, (size_t)got) == REDIS_OK);
        if (!take_replies(counter))
            return false;
        if ((size_t)got < sizeof(bytes))
            return true;
    }
    return true;
}

enum counter_progress counter_send(struct counter *counter)
{
    if (counter->head && finish_connecting(counter))
        write_out(counter);
    return progress(counter);
}

enum counter_progress counter_receive(struct counter *counter)
{
    if (!counter->head || !finish_connecting(counter) || !write_out(counter) || !read_in(counter))
        return progress(counter);
    /* What met NOSCRIPT goes out again at once. */
    if (!write_out(counter))
        return progress(counter);
    if (counter->head && now_us() >= wait_until_us(counter))
        break_connection(counter, "no answer in time", "");
    return progress(counter);
}

int counter_fd(const struct counter *counter)
{
    return counter->head ? counter->fd : -1;
}

short counter_events(const struct counter *counter)
{
    if (counter->state == CONNECTION_CONNECTING)
        return POLLOUT;
    return counter->out_sent < counter->out.len ? POLLIN | POLLOUT : POLLIN;
}

void counter_run(struct counter *counter)
{
    enum counter_progress now = counter_send(counter);

    while (now == COUNTER_PENDING) {
        struct pollfd item = {.fd = counter->fd, .events = counter_events(counter)};
        int64_t until_us = counter->state == CONNECTION_CONNECTING ? counter->connect_by_us
                                                                   : wait_until_us(counter);
        int64_t left_us = until_us - now_us();

        poll(&item, 1, left_us > 0 ? (int)((left_us + 999) / 1000) : 0);
        now = counter_receive(counter);
    }
}

bool counter_is_connected(const struct counter *counter)
{
    return counter->state == CONNECTION_OPEN;
}

const char *counter_last_error(const struct counter *counter)
{
    return counter->error;
}
