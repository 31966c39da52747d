/*
 * The ordinary client of tests/yardstick/compare:
 *
 *   client TARGET echo CALLS IN-FLIGHT     so many unary calls, the next one when one has returned
 *   client TARGET count MESSAGES BYTES     one stream of so many messages
 *
 * Prints the microseconds that it took from the first answer's arrival (so that connecting is left
 * out) to the last one's. Exit status 1: a call failed, or messages are missing or wrong.
 */
#include "base/clock.h"
#include "yardstick/reader.h"

#include <echo/echo.stub.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[] = "0123456789012345678901234567890123456789";

struct load {
    struct stub_channel *channel;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int64_t left;    /* to begin */
    int64_t pending; /* to return */
    int64_t failed;
};

static void begin(struct load *load);

static void done(void *user, const struct stub_status *status,
                 const Test__Echo__V1__EchoResponse *reply)
{
    struct load *load = user;
    bool more;

    pthread_mutex_lock(&load->lock);
    if (status->code != STUB_OK || strcmp(reply->text, text) != 0)
        load->failed++;
    more = load->left > 0;
    if (more)
        load->left--;
    else if (--load->pending == 0)
        pthread_cond_signal(&load->ended);
    pthread_mutex_unlock(&load->lock);
    if (more)
        begin(load);
}

static void begin(struct load *load)
{
    /* A server under valgrind may take more than one attempt to connect to. */
    const struct stub_call_options options = {.timeout_us = 120 * INT64_C(1000000),
                                              .wait_for_ready = true};
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    request.text = text;
    test_echo_v1_echo_service_echo_async(load->channel, &options, &request, done, load);
}

static void run(struct load *load, int64_t calls, int64_t in_flight)
{
    if (in_flight > calls)
        in_flight = calls;
    load->pending = in_flight;
    load->left = calls - in_flight;
    for (int64_t i = 0; i < in_flight; i++)
        begin(load);
    pthread_mutex_lock(&load->lock);
    while (load->pending > 0)
        pthread_cond_wait(&load->ended, &load->lock);
    pthread_mutex_unlock(&load->lock);
}

static bool echo(const char *target, int64_t calls, int64_t in_flight, int64_t *ret_us)
{
    struct load load = {.channel = stub_channel_create(target, NULL),
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .ended = PTHREAD_COND_INITIALIZER};
    int64_t start;

    run(&load, 1, 1);
    start = clock_mono_us(clock_real());
    run(&load, calls - 1, in_flight);
    *ret_us = clock_mono_us(clock_real()) - start;
    stub_channel_destroy(load.channel);
    return load.failed == 0;
}

/* False: not a number from 0 to 100 million. */
static bool parse(const char *word, int64_t *ret)
{
    char *end;

    *ret = strtoll(word, &end, 10);
    return *word && !*end && *ret >= 0 && *ret <= 100 * 1000 * 1000;
}

int main(int argc, char **argv)
{
    int64_t number, parameter, us = 0;
    bool right;

    if (argc != 5 || (strcmp(argv[2], "echo") != 0 && strcmp(argv[2], "count") != 0) ||
        !parse(argv[3], &number) || !parse(argv[4], &parameter)) {
        fprintf(stderr, "usage: client TARGET echo CALLS IN-FLIGHT | count MESSAGES BYTES\n");
        return 2;
    }
    if (strcmp(argv[2], "echo") == 0)
        right = echo(argv[1], number, parameter, &us);
    else
        right = reader_count(argv[1], number, (int32_t)parameter, &us);
    printf("%" PRId64 "\n", us);
    return right ? 0 : 1;
}
