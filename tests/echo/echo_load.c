/*
 * Null calls as fast as they go: echo_load TARGET [IN-FLIGHT [SECONDS [CONNECTIONS]]]. A call that
 * returns begins the next one. Prints calls per second and latencies.
 */
#include "base/clock.h"

#include <echo/echo.stub.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct load {
    struct stub_channel *channel;
    atomic_bool ending;
    atomic_int running;
    int64_t done; /* written by the channel's thread only */
    int64_t failed;
    int64_t sum_us;
};

struct slot {
    struct load *load;
    int64_t begun_us;
};

static void begin(struct slot *slot);

static void done(void *user, const struct stub_status *status,
                 const Test__Echo__V1__EchoResponse *reply)
{
    struct slot *slot = user;
    struct load *load = slot->load;

    (void)reply;
    load->done++;
    load->failed += status->code != STUB_OK;
    load->sum_us += clock_mono_us(clock_real()) - slot->begun_us;
    if (atomic_load(&load->ending))
        atomic_fetch_sub(&load->running, 1);
    else
        begin(slot);
}

static void begin(struct slot *slot)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    char text[] = "0123456789012345678901234567890123456789";

    request.text = text;
    slot->begun_us = clock_mono_us(clock_real());
    test_echo_v1_echo_service_echo_async(slot->load->channel, NULL, &request, done, slot);
}

int main(int argc, char **argv)
{
    int in_flight = argc > 2 ? atoi(argv[2]) : 64;
    int seconds = argc > 3 ? atoi(argv[3]) : 3;
    struct stub_channel_options options = {.connections = argc > 4 ? atoi(argv[4]) : 1};
    struct load load = {.running = in_flight};
    struct slot *slots = calloc((size_t)in_flight, sizeof(*slots));
    int64_t start, elapsed;

    if (argc < 2 || !slots) {
        fprintf(stderr, "usage: echo_load TARGET [IN-FLIGHT [SECONDS [CONNECTIONS]]]\n");
        return 1;
    }
    load.channel = stub_channel_create(argv[1], &options);
    start = clock_mono_us(clock_real());
    for (int i = 0; i < in_flight; i++) {
        slots[i].load = &load;
        begin(&slots[i]);
    }
    nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
    elapsed = clock_mono_us(clock_real()) - start;
    atomic_store(&load.ending, true);
    while (atomic_load(&load.running) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    printf("calls=%" PRId64 " failed=%" PRId64 " per_second=%.0f mean_us=%.1f\n", load.done,
           load.failed, (double)load.done * 1e6 / (double)elapsed,
           (double)load.sum_us / (double)load.done);
    stub_channel_destroy(load.channel);
    free(slots);
    return load.failed ? 1 : 0;
}
