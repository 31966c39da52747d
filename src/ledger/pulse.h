/*
 * Does Postgres answer at all? A question on a connection of its own, asked while somebody waits.
 *
 * Whoever has waited PULSE_DOUBT_MS for an answer says so. Then a thread asks for a COMMIT that changes
 * nothing, and if that brings nothing for PULSE_ANSWER_MS, and nobody else's COMMIT has come back
 * meanwhile, Postgres is silent: it hangs, its disk does, its synchronous standby does, or it is away. The
 * thread asks on until it is answered. While nobody waits, nothing is asked.
 *
 * So one transaction that takes long, or one thread that had no processor, is not taken for a hang. What is
 * silent may still answer: a COMMIT that was sent is waited for as ever.
 *
 * Any thread, but for creating and destroying.
 */
#ifndef HOLDFAST_LEDGER_PULSE_H
#define HOLDFAST_LEDGER_PULSE_H

#include "base/check.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct pulse;

/* Starts the thread, which connects at once. conninfo is one that can be read. */
struct pulse *pulse_create(const char *conninfo, const struct clock *clock);
void pulse_destroy(struct pulse *pulse); /* accepts NULL */

/* True if Postgres is silent. Of NULL: never, here and below. */
MUST_CHECK bool pulse_is_silent(const struct pulse *pulse);

/* The same for somebody who has waited since then (clock_mono_us), and who doubts if that is long. */
MUST_CHECK bool pulse_fails(struct pulse *pulse, int64_t since_us);

/* Somebody has reason to doubt: a connection could not be made in time. */
void pulse_doubt(struct pulse *pulse);

/* Somebody's COMMIT has come back: what was written is on the disk. */
void pulse_heard(struct pulse *pulse);

#endif
