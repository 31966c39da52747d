/*
 * The log: one line per event on stderr, key=value, subject and event first among the words.
 *
 *     log_info("ledger", "batch.committed rows=%zu age_us=%" PRId64, rows, age_us);
 *     ts=2026-11-25T12:03:04.567Z level=info subject=ledger event=batch.committed rows=3 age_us=812
 *
 * Any thread may log; a line is one write and is never mixed with another. Text that came from
 * outside goes through LOG_VALUE or LOG_SLICE, which quote it. Control characters that slip into a
 * line are replaced by '?', and lines end at LOG_LINE_MAX bytes. Logging never fails.
 *
 * Lower layers return failures instead of logging them; rpc/, main.c and the loops of threads log.
 */
#ifndef HOLDFAST_BASE_LOG_H
#define HOLDFAST_BASE_LOG_H

#include "base/check.h"
#include "base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

enum { LOG_LINE_MAX = 2048, LOG_VALUE_MAX = 256 };

/* Lines below this level are dropped; LOG_INFO at start. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "debug", "info", "warn" or "error"; false for anything else. */
MUST_CHECK bool log_level_from_name(struct slice name, enum log_level *ret_level);

/* The line itself; format begins with the event. Use the macros below. */
void log_line(enum log_level level, const char *subject, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_debug(subject, ...) log_line(LOG_DEBUG, subject, __VA_ARGS__)
#define log_info(subject, ...) log_line(LOG_INFO, subject, __VA_ARGS__)
#define log_warn(subject, ...) log_line(LOG_WARN, subject, __VA_ARGS__)
#define log_error(subject, ...) log_line(LOG_ERROR, subject, __VA_ARGS__)

/*
 * A limit on repeats, owned by the caller, zeroed at start and shared by any threads: the first
 * line passes, then at most one a second, which carries suppressed=N when some were dropped.
 *
 *     log_every(&counter->errors, LOG_WARN, "counter", "connect.failed status=%s", ...);
 */
struct log_limit {
    _Atomic int64_t next_us;     /* not before this time */
    _Atomic uint64_t suppressed; /* since the last line */
};

void log_every(struct log_limit *limit, enum log_level level, const char *subject,
               const char *format, ...) PRINTF_LIKE(4, 5);

/* The decision alone, at a time of the caller's: may a line go out, and how many did not? */
MUST_CHECK bool log_limit_pass(struct log_limit *limit, int64_t now_us, uint64_t *ret_suppressed);

struct log_value {
    char text[LOG_VALUE_MAX];
};

/* Text as a logfmt value: quoted and escaped where needed, cut with "..." when long. */
const char *log_value(struct log_value *scratch, struct slice text);

/* LOG_VALUE(name) and LOG_SLICE(slice): an argument for %s that lives until the block ends. */
#define LOG_SLICE(slice) log_value(&(struct log_value){{0}}, slice)
#define LOG_VALUE(cstr) LOG_SLICE(slice_from_cstr(cstr))

#endif
