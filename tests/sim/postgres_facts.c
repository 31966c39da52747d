/*
 * What the record says of jobs, the first half of a reap, and the reads of quotas and events.
 */
#include "tests/sim/postgres_rows.h"

#include "base/check.h"
#include "tests/sim/mutants.h"

#include <stdlib.h>
#include <string.h>

struct settle_facts pg_facts(struct postgres *pg, struct arena *arena, int64_t tenant_id,
                             struct slice job_id)
{
    const struct pg_job *job = postgres_job(pg, tenant_id, job_id, false);
    struct settle_facts facts = {0};
    struct hold *hold;

    if (!job)
        return facts;
    if (job->record)
        facts.record = pg_copy_record(arena, job->record);
    facts.fences_count = job->fences_count;
    facts.fences = pg_alloc(arena, job->fences_count, sizeof(*facts.fences));
    if (job->fences_count > 0)
        memcpy(facts.fences, job->fences, job->fences_count * sizeof(*facts.fences));
    facts.fenced_ms = job->fenced_ms;
    for (int place = 0; place < 2; place++) {
        const struct pg_expired *newest = NULL;

        for (const struct pg_expired *expired = job->expired; expired; expired = expired->next)
            if (attempt_is_in_postgres(expired->attempt) == (place == 1) &&
                (!newest || attempt_compare(expired->attempt, newest->attempt) > 0))
                newest = expired;
        if (!newest)
            continue;
        CHECK(hold_parse(arena, slice_from_cstr(newest->text), &hold));
        facts.expired = settle_newer(facts.expired, hold);
    }
    if (job->placed) {
        CHECK(hold_parse(arena, slice_from_cstr(job->placed), &hold));
        facts.placed = hold;
    }
    return facts;
}

struct settle_record *pg_copy_record(struct arena *arena, const struct settle_record *from)
{
    struct settle_record *record = pg_alloc(arena, 1, sizeof(*record));

    *record = *from;
    record->scope = slice_from_cstr(
        arena_strndup(arena, from->scope.len ? from->scope.data : "", from->scope.len));
    record->entries = pg_alloc(arena, from->entries_count, sizeof(*record->entries));
    for (size_t i = 0; i < from->entries_count; i++) {
        struct settle_entry *entry = &record->entries[i];

        *entry = from->entries[i];
        entry->meter =
            slice_from_cstr(arena_strndup(arena, entry->meter.data, entry->meter.len));
        entry->counted = pg_alloc(arena, entry->counted_count, sizeof(*entry->counted));
        if (entry->counted_count > 0)
            memcpy(entry->counted, from->entries[i].counted,
                   entry->counted_count * sizeof(*entry->counted));
    }
    return record;
}

enum status sim_facts_read(struct database *db, struct arena *arena, struct ledger_job *jobs,
                              size_t count, int64_t *ret_now_ms)
{
    enum status status;

    if (count == 0)
        return STATUS_OK;
    status = pg_ask(db);
    if (status != STATUS_OK)
        return status;
    *ret_now_ms = pg_now_ms(db);
    for (size_t i = 0; i < count; i++)
        jobs[i].facts = pg_facts(db->pg, arena, jobs[i].tenant_id, jobs[i].job_id);
    for (size_t i = 0; i < count && mutant_is(MUTANT_FACTS_WITHOUT_FENCES); i++)
        jobs[i].facts.fences_count = 0;
    for (size_t i = 0; i < count && mutant_is(MUTANT_REPEAT_IS_NEW); i++)
        jobs[i].facts.record = NULL;
    pg_pause(db->pg);
    return STATUS_OK;
}

/* --- the reap ----------------------------------------------------------------------------------- */

struct reaping {
    struct arena *arena;
    struct ledger_reap_job *jobs;
    size_t count;
    struct pg_ref *refs;
    size_t refs_count;
    struct book book;
};

static bool is_listed(const struct pg_job *job, struct attempt attempt)
{
    for (const struct pg_expired *expired = job ? job->expired : NULL; expired;
         expired = expired->next)
        if (expired->attempt.epoch == attempt.epoch && expired->attempt.seq == attempt.seq)
            return true;
    return false;
}

static void judge(struct reaping *reaping, struct pg_tx *tx, struct ledger_reap_job *job)
{
    const struct pg_job *known = postgres_job(tx->pg, job->tenant_id, job->job_id, false);
    struct settle_facts facts = pg_facts(tx->pg, reaping->arena, job->tenant_id, job->job_id);
    struct pg_change *change;

    job->committed = facts.record != NULL;
    if (job->committed || settle_is_fenced(&facts, job->hold->attempt) ||
        job->hold->deadline_ms > reaping->book.now_ms || is_listed(known, job->hold->attempt))
        return;
    change = pg_add(tx, PG_ADD_EXPIRED, job->tenant_id);
    change->job_id = pg_keep(tx->pg, job->job_id);
    change->attempt = job->hold->attempt;
    change->text = pg_keep(tx->pg, job->text).data;
    change = pg_add(tx, PG_ADD_EVENT, job->tenant_id);
    change->event = (struct ledger_event){
        .tenant_id = job->tenant_id,
        .kind = EVENT_HOLD_EXPIRED,
        .job_id = pg_keep(tx->pg, job->job_id),
        .attempt = job->hold->attempt,
    };
}

static enum status reap_body(struct database *db, void *user)
{
    struct reaping *reaping = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, reaping->arena, 0);

    if (status != STATUS_OK)
        return status;
    reaping->book = (struct book){.arena = reaping->arena};
    status = pg_lock(&tx, db, &reaping->book, reaping->refs, reaping->refs_count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < reaping->count; i++)
        judge(reaping, &tx, &reaping->jobs[i]);
    for (size_t i = 0; i < reaping->book.quotas_count; i++) {
        struct quota_row *quota = &reaping->book.quotas[i];

        if (quota->reaped_to_ms >= reaping->book.now_ms)
            continue;
        quota->reaped_to_ms = reaping->book.now_ms;
        quota->dirty = true;
    }
    pg_write(&tx, &reaping->book);
    return pg_commit(&tx);
}

enum status sim_reap_run(struct database *db, struct arena *arena, struct ledger_reap_job *jobs,
                         size_t count, int64_t *ret_reaped_to_ms, struct quota_row **ret_quotas,
                         size_t *ret_quotas_count)
{
    struct reaping reaping = {.arena = arena, .jobs = jobs, .count = count};
    size_t refs = 0;
    enum status status;

    CHECK(count > 0);
    for (size_t i = 0; i < count; i++)
        refs += jobs[i].hold->quotas_count;
    reaping.refs = pg_alloc(arena, refs, sizeof(*reaping.refs));
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < jobs[i].hold->quotas_count; k++)
            reaping.refs[reaping.refs_count++] =
                (struct pg_ref){jobs[i].tenant_id, jobs[i].hold->quotas[k].quota};
    reaping.refs_count = pg_refs_sort(reaping.refs, reaping.refs_count);
    status = pg_transact(db, reap_body, &reaping);
    for (size_t i = 0; i < count; i++)
        jobs[i].locked = status == STATUS_CONFLICT && pg_is_locked(db->pg, jobs[i].tenant_id);
    *ret_reaped_to_ms = reaping.book.now_ms;
    *ret_quotas = reaping.book.quotas;
    *ret_quotas_count = reaping.book.quotas_count;
    return status;
}

/* --- reads -------------------------------------------------------------------------------------- */

static struct quota_row untouched(const struct plan *plan, const struct limit *limit, int64_t now_ms)
{
    int64_t start_ms = limit_start_ms(limit, now_ms);

    return (struct quota_row){
        .tenant_id = plan->tenant_id,
        .ref = {limit->limit_id, start_ms},
        .limit_name = limit->name,
        .scope = limit->scope,
        .meter = limit->meter,
        .period = limit->period,
        .period_end_ms = limit_end_ms(limit, start_ms),
        .stops = {.soft = limit->soft,
                  .amount = limit->amount,
                  .cap = limit->cap,
                  .unlimited = limit->unlimited},
        .state = QUOTA_OPEN,
    };
}

enum status sim_usage_read(struct database *db, struct arena *arena, const struct plan *plan,
                              const int64_t *limit_ids, size_t limits_count, int64_t now_ms,
                              struct ledger_usage **ret, int64_t *ret_event_seq,
                              int64_t *ret_config_version)
{
    struct pg_tenant *tenant = postgres_tenant(db->pg, plan->tenant_id);
    enum status status = pg_ask(db);

    if (status != STATUS_OK)
        return status;
    *ret = pg_alloc(arena, limits_count, sizeof(**ret));
    for (size_t i = 0; i < limits_count; i++) {
        const struct limit *limit = plan_limit(plan, limit_ids[i]);
        const struct pg_quota *quota;

        CHECK(limit);
        (*ret)[i].quota = untouched(plan, limit, now_ms);
        quota = pg_find_quota(tenant, (*ret)[i].quota.ref);
        if (!quota)
            continue;
        (*ret)[i].quota = quota->row;
        (*ret)[i].quota.epoch = db->pg->authority[tenant->shard].view.epoch;
        for (const struct pg_lease *lease = tenant->leases; lease; lease = lease->next)
            if (quota_ref_equal(lease->row.ref, quota->row.ref) &&
                lease->row.deadline_ms > (*ret)[i].old_deadline_ms)
                (*ret)[i].old_deadline_ms = lease->row.deadline_ms;
    }
    *ret_event_seq = tenant->event_seq;
    *ret_config_version = tenant->info.config_version;
    pg_pause(db->pg);
    return STATUS_OK;
}
