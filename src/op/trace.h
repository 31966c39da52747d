/*
 * The trace: every step of a lease, a hold and a job that this server learns of, a line of JSON each, for
 * tests/protocol/trace, which accepts only what the protocol allows (PROTOCOL.md 5). Off in production: what
 * is NULL traces nothing.
 *
 * A line is one write to a file opened for appending, so servers of one machine may share it. Lines stand in
 * this order, which the checker relies on:
 *
 *     what raises what Redis may admit (a row that was read)    before Redis is told
 *     what makes Redis let go (record, fence, expiry)           before Redis is told
 *     what Redis has admitted or moved                          after Redis answered
 *
 * So at each line the file knows of at least as much room as Redis has, and of no hold that is not there.
 * A line that cannot be written is left out, with a warning in the log; then the trace proves nothing.
 *
 * Any thread. Nothing of it is kept in memory.
 */
#ifndef HOLDFAST_OP_TRACE_H
#define HOLDFAST_OP_TRACE_H

#include "base/check.h"
#include "ledger/committer.h"
#include "ledger/ledger.h"
#include "quota/adjust.h"
#include "quota/book.h"
#include "quota/hold.h"

#include <stddef.h>
#include <stdint.h>

struct trace;

/* server: its name, kept. NULL: the file cannot be opened; errno says why. */
struct trace *trace_open(const char *path, const char *server);
void trace_close(struct trace *trace); /* accepts NULL */

/* All below: trace may be NULL; now_ms is in the database's time. */

/* Rows of the root as a transaction left them. */
void trace_rows(struct trace *trace, int64_t now_ms, const struct quota_row *rows, size_t count);

/* The rows that a grant left, and what it lent. */
void trace_grants(struct trace *trace, int64_t now_ms, const struct ledger_grant *grants,
                  size_t count);
void trace_returns(struct trace *trace, int64_t now_ms, const struct ledger_return *returns,
                   size_t count);

/* What a batch of commits left: rows, records and fences, of those that were decided. */
void trace_commits(struct trace *trace, struct commit_item *const *items, size_t count);

/* Before its transaction, again at each try: what it may take of a job's record. Its rows afterwards. */
void trace_adjusting(struct trace *trace, int64_t now_ms, const struct adjust_item *item);

/* What a reap found past its deadline; those that are recorded are not expired. */
void trace_expired(struct trace *trace, int64_t now_ms, const struct ledger_reap_job *jobs,
                   size_t count);

/* Made by the script of a Reserve. */
void trace_held(struct trace *trace, int64_t now_ms, int64_t tenant_id, struct slice job_id,
                const struct hold *hold);

/* How many bytes the file has, 0 without a trace: what begins now began after the lines before that. */
int64_t trace_position(const struct trace *trace);

/* OK of an Extend that began at a position: its deadline, and the leases that it stands under. */
void trace_moved(struct trace *trace, int64_t now_ms, int64_t began, int64_t tenant_id,
                 struct slice job_id, const struct hold *hold);

#endif
