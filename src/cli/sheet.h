/*
 * The balance sheet of a replay: what the client was told, what the server's record says, and
 * whether the two agree.
 *
 * Pure; one thread at a time. The list below is the JSON object, name by name; tests and scripts
 * read it, so a name never changes its meaning.
 */
#ifndef HOLDFAST_CLI_SHEET_H
#define HOLDFAST_CLI_SHEET_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* X(name, what it is) */
#define SHEET_COUNTS(X)                                                                            \
    X(jobs, "rows of the trace")                                                                   \
    X(reserved, "jobs admitted (ALLOW or WARN)")                                                   \
    X(committed, "commits acknowledged")                                                           \
    X(released, "holds given back")                                                                \
    X(rejected, "jobs refused by quota")                                                           \
    X(expired, "holds that expired before their commit")                                           \
    X(replayed, "answers to an earlier call of the same job")                                      \
    X(retried, "calls repeated after an error")                                                    \
    X(failed, "jobs given up after errors")                                                        \
    X(reserved_sum, "units admitted")                                                              \
    X(committed_sum, "units acknowledged")                                                         \
    X(ledger_rows, "records of this run, from the server")                                         \
    X(ledger_sum, "units of these records, debt included")                                         \
    X(usage_sum, "growth of committed + debt over the run")                                        \
    X(debt_sum, "part of it that is debt")                                                         \
    X(held_after, "units still held after the run")                                                \
    X(over_admission, "units committed above limit + overage, debt apart")                         \
    X(lost, "acknowledged commits without a record")                                               \
    X(doubled, "records that nobody asked for, or counted twice")                                  \
    X(soft_stop_events, "SOFT_STOP up, as watched")                                                \
    X(hard_stop_events, "HARD_STOP up, as watched")                                                \
    X(hard_cap_events, "HARD_CAP up, as watched")

#define SHEET_RATES(X)                                                                             \
    X(elapsed_s, "seconds from the first call to the last answer")                                 \
    X(reserve_per_s, "Reserve answers a second")                                                   \
    X(commit_per_s, "Commit answers a second")                                                     \
    X(reserve_p50_ms, "Reserve, median")                                                           \
    X(reserve_p99_ms, "Reserve, 99th percentile")                                                  \
    X(commit_p50_ms, "Commit, median")                                                             \
    X(commit_p99_ms, "Commit, 99th percentile")                                                    \
    X(held_zero_ms, "from the end until nothing was held; -1: something still is")

struct sheet {
    bool verified; /* ledger_rows and ledger_sum were read job by job */
#define SHEET_COUNT_FIELD(name, text) int64_t name;
    SHEET_COUNTS(SHEET_COUNT_FIELD)
#undef SHEET_COUNT_FIELD
#define SHEET_RATE_FIELD(name, text) double name;
    SHEET_RATES(SHEET_RATE_FIELD)
#undef SHEET_RATE_FIELD
};

/*
 * True if every acknowledged unit is on the record once and nothing else is: no loss, no double, no
 * over-admission, nothing held, and ledger, usage and acknowledgements agree. When calls failed
 * without an answer, the record may have more than was acknowledged.
 */
bool sheet_balanced(const struct sheet *sheet);

/* The table for people. */
void sheet_print(const struct sheet *sheet, FILE *out);

/* One object with every field above, "balanced" and "verified"; for the caller to json_decref. */
json_t *sheet_json(const struct sheet *sheet);

#endif
