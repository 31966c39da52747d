/*
 * What the record says of jobs, without locks: for replays and reads.
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"

struct reading {
    struct arena *arena;
    struct rows_job *jobs;
    size_t count;
    int64_t now_ms;
};

/* The ledger is read first: an answer is as of that moment, whatever lands meanwhile. */
static enum status body(struct database *db, void *user)
{
    struct reading *reading = user;
    enum status status = database_clock(db, &reading->now_ms);

    return status == STATUS_OK ? rows_facts(db, reading->arena, reading->jobs, reading->count)
                               : status;
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
    reading.count = rows_jobs_sort(reading.jobs, count);
    status = database_transact(db, body, &reading);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    for (size_t i = 0; i < count; i++)
        jobs[i].facts =
            rows_jobs_find(reading.jobs, reading.count, jobs[i].tenant_id, jobs[i].job_id)->facts;
    *ret_now_ms = reading.now_ms;
    return STATUS_OK;
}
