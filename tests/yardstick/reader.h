/*
 * A stream read as fast as Core gives it out, so that the server and not the client is measured.
 */
#ifndef HOLDFAST_TESTS_YARDSTICK_READER_H
#define HOLDFAST_TESTS_YARDSTICK_READER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Calls Count for so many messages, looks at the size of each, and sets *ret_us to the time from the
 * first to the end. False: another number came, or one of another size, or the status was not OK.
 */
bool reader_count(const char *target, int64_t messages, int32_t bytes, int64_t *ret_us);

#endif
