/*
 * Why an operation on the outside world failed.
 *
 * A status is never a business answer: "rejected" or "already committed" are results of a call that
 * worked. A bug is not a status either, but a CHECK. What matters most to a caller is whether the
 * operation may have happened: retry freely after a failure without effect, find out first after the
 * others.
 */
#ifndef HOLDFAST_BASE_STATUS_H
#define HOLDFAST_BASE_STATUS_H

#include <stdbool.h>

/* X(name, something may have happened, text for people) */
#define STATUS_MAP(X)                                                                              \
    X(OK, true, "done")                                                                            \
    X(UNAVAILABLE, false, "no connection; nothing was sent")                                       \
    X(TIMEOUT, false, "the time was over before anything was sent")                                \
    X(UNKNOWN, true, "sent, but no answer came back")                                              \
    X(CORRUPT, true, "the other side answered something that makes no sense")                      \
    X(REFUSED, false, "the other side must not be used: wrong settings, role or version")          \
    X(CONFLICT, false, "a concurrent change was in the way; nothing happened")                     \
    X(EXHAUSTED, false, "a bound on memory, queue or connections was reached")                     \
    X(CANCELLED, false, "given up before it was begun")                                            \
    X(INVALID, false, "the input is malformed")                                                    \
    X(FAULT, false, "the other side answered an error; it is there, and nothing happened")

enum status {
#define X(name, effect, text) STATUS_##name,
    STATUS_MAP(X)
#undef X
        STATUS_COUNT
};

/* "OK", "UNKNOWN" ... for logs and metrics. */
const char *status_name(enum status status);

/* One sentence for people. */
const char *status_text(enum status status);

/* False: it certainly did not happen. True: it did (STATUS_OK) or nobody here knows. */
bool status_may_have_happened(enum status status);

#endif
