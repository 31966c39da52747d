/*
 * A breaker: whether something that others depend on, and that may be away, is asked at all. While it is open
 * nobody asks, so nobody waits; one prober at a time asks for all of them.
 *
 *                   failed                 time: breaker_probe is true for one caller
 *      CLOSED ─────────────────> OPEN ──────────────────────────────────> PROBING
 *        ^                        ^                                          │ │
 *        │        worked          └───────────── failed: twice the pause ────┘ │
 *        └─────────────────────────────────────────────────────────────────────┘
 *
 * A prober that never says what it found is followed by another one after probe_ms. Pauses grow from first_ms
 * to max_ms, each with jitter (half of it up to all of it), and begin anew once it has been closed for twice
 * the longest one: what comes and goes is asked ever less often.
 *
 * Time and chance are the caller's. Any thread.
 */
#ifndef HOLDFAST_BASE_BREAKER_H
#define HOLDFAST_BASE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker_options {
    int first_ms, max_ms;
    int probe_ms; /* after so long a prober is given up */
};

struct breaker;

struct breaker *breaker_create(const struct breaker_options *options);
void breaker_destroy(struct breaker *breaker); /* accepts NULL */

/* May it be asked? One atomic load. */
bool breaker_is_closed(const struct breaker *breaker);

/* True: the caller is to ask now, and to say what came of it. False: closed, or not yet. */
bool breaker_probe(struct breaker *breaker, int64_t now_us);

/* In how many ms breaker_probe may be true; 0: now; -1: it is closed. */
int breaker_wait_ms(struct breaker *breaker, int64_t now_us);

/* For how long it has not been closed; -1: it is. */
int breaker_open_ms(struct breaker *breaker, int64_t now_us);

/*
 * How many absences there have been. One that follows the last within twice the longest pause belongs to
 * it, as above.
 */
int64_t breaker_episode(struct breaker *breaker);

/* It answered the prober. What others were told before it opened changes nothing. */
void breaker_worked(struct breaker *breaker, int64_t now_us);

/* It did not answer. random: any number. True: it was closed until now. */
bool breaker_failed(struct breaker *breaker, int64_t now_us, uint64_t random);

#endif
