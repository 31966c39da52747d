/*
 * What the record says of jobs, without locks: for replays and reads.
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"

#include <stdlib.h>

struct reading {
    struct arena *arena;
    struct rows_job *jobs;
    size_t count;
    int64_t now_ms;
};

static int compare(const void *a, const void *b)
{
    return rows_job_compare(a, b);
}

/* The ledger is read first: an answer is as of that moment, whatever lands meanwhile. */
static enum status body(struct database *db, void *user)
{
    struct reading *reading = user;
    enum status status = database_clock(db, &reading->now_ms);

    return status == STATUS_OK ? rows_facts(db, reading->arena, reading->jobs, reading->count)
                               : status;
}

static const struct rows_job *find(const struct reading *reading, const struct ledger_job *job)
{
    struct rows_job wanted = {.tenant_id = job->tenant_id, .job_id = job->job_id};

    return bsearch(&wanted, reading->jobs, reading->count, sizeof(wanted), compare);
}

enum status ledger_facts_read(struct database *db, struct arena *arena, struct ledger_job *jobs,
                              size_t count, int64_t *ret_now_ms)
{
    struct reading reading = {.arena = arena};
    enum status status;

    if (count == 0)
        return STATUS_OK;
    reading.jobs = arena_array(arena, count, sizeof(*reading.jobs));
    if (!reading.jobs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++)
        reading.jobs[i] =
            (struct rows_job){.tenant_id = jobs[i].tenant_id, .job_id = jobs[i].job_id};
    qsort(reading.jobs, count, sizeof(*reading.jobs), compare);
    for (size_t i = 0; i < count; i++)
        if (reading.count == 0 ||
            rows_job_compare(&reading.jobs[reading.count - 1], &reading.jobs[i]) != 0)
            reading.jobs[reading.count++] = reading.jobs[i];
    status = database_transact(db, body, &reading);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    for (size_t i = 0; i < count; i++)
        jobs[i].facts = find(&reading, &jobs[i])->facts;
    *ret_now_ms = reading.now_ms;
    return STATUS_OK;
}
