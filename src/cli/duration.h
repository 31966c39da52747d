/*
 * Durations as people write them: "500ms", "30s", "15m", "1h30m", "1.5s", "250us", "2d".
 *
 * Pure functions; any thread.
 */
#ifndef HOLDFAST_CLI_DURATION_H
#define HOLDFAST_CLI_DURATION_H

#include "base/check.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

/* Enough for any text of duration_format. */
#define DURATION_TEXT_BYTES 32

/*
 * One or more numbers, each with a unit (us, ms, s, m, h, d), added up; a plain "0" needs none.
 * False: not a duration, negative, or above 100 years; then *ret_us is untouched.
 */
MUST_CHECK bool duration_parse(const char *text, int64_t *ret_us);

/*
 * The value of --NAME, longer than 0. Anything else ends the program with argp_err_exit_status, said with
 * what to write instead: a number alone has no unit and is not guessed at.
 */
void duration_option(const struct argp_state *state, const char *name, const char *text,
                     int64_t *ret_us);

/* A short text with two or three digits that matter: "0s", "120us", "4.2ms", "59.8s", "14m05s",
   "23h59m", "3d04h"; a '-' in front if negative. Returns text. */
const char *duration_format(int64_t us, char text[DURATION_TEXT_BYTES]);

#endif
