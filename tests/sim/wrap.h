/*
 * What stands in for the blocking calls of libc, pthread and stub/ under the code of src/op, by the
 * linker's --wrap (CMakeLists.txt lists them). A thread is a fibre, a wait is a wait in virtual time.
 */
#ifndef HOLDFAST_TESTS_SIM_WRAP_H
#define HOLDFAST_TESTS_SIM_WRAP_H

#include "base/clock.h"
#include "base/entropy.h"

#include <stdint.h>

/*
 * Wall clock at virtual time 0, and the time in Postgres. 2026-01-01 00:00:30 UTC, unless a world begins at
 * another, before anything else of it does.
 */
extern int64_t sim_epoch_ms;
#define SIM_EPOCH_MS INT64_C(1767225630000)

/* 40 s before a minute, an hour, a day, a week, a month and a year begin: 2029-01-01 is a Monday. */
#define SIM_EPOCH_TURN_MS INT64_C(1861919960000)

static inline int64_t sim_ms_at(int64_t us)
{
    return sim_epoch_ms + us / 1000;
}

/* Virtual time; what clock_real() gives in this program. */
const struct clock *sim_clock(void);

/* For nonces, which need only differ: nothing is taken from the run's own chances. */
const struct entropy *sim_entropy(void);

/* A queue of things to do on the threads in stub_server_next; struct stub_server points to one. */
struct sim_door;
struct sim_door *sim_door_create(void);
void sim_door_put(struct sim_door *door, void (*fn)(void *user, void *worker), void *user);
void sim_door_close(struct sim_door *door);

/* What op->user must point to: stub_call_post finds the door there. */
struct sim_call {
    struct sim_door *door;
};

#endif
