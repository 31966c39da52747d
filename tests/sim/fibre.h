/*
 * Threads that take turns in virtual time: one real thread, one fibre at a time, and the seed decides
 * who is next when several could be.
 *
 * A fibre runs until it waits. Time moves only when every fibre waits, at once to the moment when the
 * first of them may go on. So a run is repeated exactly by its seed, and a quiet hour costs nothing.
 *
 * Fibres of one group belong to one pretended process, and can be dropped together in the middle of
 * what they do, as kill -9 does it: what they have locked or allocated stays so.
 *
 * There is one scheduler: what stands in for pthread_mutex_lock and poll (wrap.c) gets no context.
 */
#ifndef HOLDFAST_TESTS_SIM_FIBRE_H
#define HOLDFAST_TESTS_SIM_FIBRE_H

#include "tests/sim/dice.h"

#include <stdbool.h>
#include <stdint.h>

struct fibre;

/* Begins anew, at time 0. */
void fibres_begin(uint64_t seed);

/* Runs fibres until this time; what is due later stays. Not to be called from a fibre. */
void fibres_run(int64_t until_us);

/* Drops every fibre. */
void fibres_end(void);

/* fn(user) at that time, outside of any fibre and of any group: what is on its way arrives. */
void fibres_at(int64_t us, void (*fn)(void *user), void *user);

int64_t fibre_now_us(void);
int64_t fibre_switches(void);

/* group 0: that of the caller. The name must outlive the fibre. */
struct fibre *fibre_start(const char *name, int group, void (*run)(void *user), void *user);

/* Drops all fibres of a group but the caller. */
void fibres_drop(int group);

/* --- in a fibre --------------------------------------------------------------------------------- */

const char *fibre_name(void); /* "" outside */
int fibre_group(void);        /* 0 outside */

void fibre_sleep_us(int64_t us);
void fibre_yield(void); /* lets others go that are due now */

/* Waits for fibre_wake of the channel (any address; NULL: none) or the time. False: it was the time. */
bool fibre_wait(const void *channel, int64_t until_us);
void fibre_wake(const void *channel);

/* Waits until the other has returned. */
void fibre_join(struct fibre *fibre);

#define FIBRE_FOREVER_US (INT64_C(1) << 62)

#endif
