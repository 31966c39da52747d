#include "ledger/batch.h"

#include "quota/plan.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* Rows of 256 items with 32 quotas each, and their names, take some 20 MiB. */
    ARENA_FIRST_BYTES = 4 << 20,
    ARENA_LIMIT_BYTES = 512 << 20,
    /* What may be read of it. Deciding takes less than the rest: at most 128 MiB for records and events
       of 256 items of 128 quotas, and for fences twice what was read. */
    ARENA_READ_BYTES = 128 << 20,
    REFS_OF_ITEM_MAX = SETTLE_LOCKS_MAX,
};

/* A fence is kept longer than any attempt can be committed: lifetime, late window, an hour. */
#define LIFETIME_AND_HOUR_MS (FENCE_KEEP_MS - LATE_WINDOW_MS)

static const struct statement begin = {"batch_begin", "BEGIN"};
static const struct statement commit = {"batch_commit", "COMMIT"};

static const struct statement *const statements[] = {
    &begin,
    &rows_quota_lock[SQL_FORM_ROW],
    &rows_quota_lock[SQL_FORM_ROWS],
    &rows_now[SQL_FORM_ROW],
    &rows_now[SQL_FORM_ROWS],
    &rows_placed_find,
    &rows_fence_find,
    &rows_expired_find,
    &rows_fence_insert,
    &rows_placed_delete,
    &rows_quota_update[SQL_FORM_ROW],
    &rows_quota_update[SQL_FORM_ROWS],
    &rows_lease_update,
    &rows_event_lock,
    &rows_event_insert,
    &commit,
};

size_t batch_statements(const struct statement *ret_statements[BATCH_STATEMENTS_MAX])
{
    size_t count = 0;

    CHECK(ARRAY_COUNT(statements) + 2 * ROWS_LEDGER_PARTS_COUNT <= BATCH_STATEMENTS_MAX);
    for (size_t i = 0; i < ARRAY_COUNT(statements); i++)
        ret_statements[count++] = statements[i];
    for (size_t part = 0; part < ROWS_LEDGER_PARTS_COUNT; part++) {
        ret_statements[count++] = &rows_ledger_find[part];
        ret_statements[count++] = &rows_ledger_insert[part];
    }
    return count;
}

void batch_init(struct batch *batch, int64_t late_window_ms, int64_t lease_ms)
{
    memset(batch, 0, sizeof(*batch));
    arena_init(&batch->arena, ARENA_FIRST_BYTES, ARENA_LIMIT_BYTES);
    batch->late_window_ms = late_window_ms;
    batch->lease_ms = lease_ms;
}

void batch_done(struct batch *batch)
{
    arena_done(&batch->arena);
}

/* --- before the transaction ------------------------------------------------------------------- */

static struct rows_job job_of(const struct commit_item *item)
{
    return (struct rows_job){.tenant_id = item->settle.tenant_id, .job_id = item->settle.job_id};
}

static bool collect_jobs(struct batch *batch)
{
    batch->jobs = arena_array(&batch->arena, batch->count, sizeof(*batch->jobs));
    if (!batch->jobs)
        return false;
    for (size_t i = 0; i < batch->count; i++)
        batch->jobs[i] = job_of(batch->items[i].item);
    batch->jobs_count = rows_jobs_sort(batch->jobs, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        const struct settle_item *settle = &batch->items[i].item->settle;

        batch->items[i].job = (size_t)(rows_jobs_find(batch->jobs, batch->jobs_count,
                                                      settle->tenant_id, settle->job_id) -
                                       batch->jobs);
    }
    return true;
}

static bool must_ask(const struct commit_item *item)
{
    const struct settle_item *settle = &item->settle;

    return item->came_back || settle->kind != SETTLE_COMMIT || (!settle->token && !settle->live);
}

static bool choose_asked(struct batch *batch, bool assume_new)
{
    batch->asked = batch->jobs;
    batch->asked_count = batch->jobs_count;
    if (!assume_new)
        return true;
    for (size_t i = 0; i < batch->jobs_count; i++)
        batch->jobs[i].assumed_new = true;
    for (size_t i = 0; i < batch->count; i++)
        if (must_ask(batch->items[i].item))
            batch->jobs[batch->items[i].job].assumed_new = false;
    batch->asked = arena_array(&batch->arena, batch->jobs_count, sizeof(*batch->asked));
    batch->asked_count = 0;
    for (size_t i = 0; batch->asked && i < batch->jobs_count; i++)
        if (!batch->jobs[i].assumed_new)
            batch->asked[batch->asked_count++] = batch->jobs[i];
    return batch->asked;
}

bool batch_has_assumed(const struct batch *batch)
{
    return batch->asked_count < batch->jobs_count;
}

/* The partition of the ledger that all items are in; 0: they are in several. */
static int common_part(const struct batch *batch)
{
    int part = batch->items[0].item->plan ? batch->items[0].item->plan->ledger_part : 0;

    for (size_t i = 1; i < batch->count; i++)
        if (!batch->items[i].item->plan || batch->items[i].item->plan->ledger_part != part)
            return 0;
    return part;
}

/*
 * May a row of pg_hold decide it? Not where a reservation id names a hold in Redis that is not nearly over.
 */
static bool may_be_placed(const struct settle_item *settle, int64_t now_ms)
{
    return !settle->token || !attempt_is_in_redis(settle->token->attempt) ||
           settle->token->deadline_ms <= now_ms + LATE_AHEAD_MS;
}

/*
 * For items that neither name a hold nor have one in Redis: which one expired last? Where there may be a row
 * of pg_hold and no other hold names its quotas: which ones are they? Of a hold that Redis has, too, if it
 * has turned out that there is a row.
 */
static enum status look_aside(struct batch *batch, struct database *aside, int64_t now_ms)
{
    enum status status;
    bool asks = false;

    batch->ask_expired = batch->ask_placed = false;
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *of = &batch->items[i];
        const struct settle_item *settle = &of->item->settle;

        of->by_job = !settle->token && !settle->live;
        batch->ask_expired |= of->by_job;
        batch->ask_placed |= may_be_placed(settle, now_ms);
        asks |= of->by_job || of->item->came_back;
    }
    if (!asks)
        return STATUS_OK;
    status = rows_facts(aside, &batch->arena, batch->jobs, batch->jobs_count);
    for (size_t i = 0; status == STATUS_OK && i < batch->count; i++) {
        struct batch_item *of = &batch->items[i];
        const struct settle_facts *facts = &batch->jobs[of->job].facts;

        if (of->by_job && facts->expired)
            of->expired = facts->expired->attempt;
        if (facts->placed)
            of->placed = facts->placed->attempt;
    }
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}

static bool names(const struct hold *hold, struct quota_ref ref)
{
    for (size_t i = 0; hold && i < hold->quotas_count; i++)
        if (quota_ref_equal(hold->quotas[i].quota, ref))
            return true;
    return false;
}

/*
 * Rows of the item's hold exist, unless no store was asked for it; those of the periods that a late commit
 * would go to may not.
 */
static bool may_be_absent(const struct settle_item *settle, struct quota_ref ref)
{
    return (!names(settle->token, ref) || attempt_is_open(settle->token->attempt)) &&
           !names(settle->live, ref);
}

/* Returns how many quotas the items may have to lock in all. */
static size_t link_facts(struct batch *batch)
{
    size_t count = 1;

    for (size_t i = 0; i < batch->count; i++) {
        struct settle_item *settle = &batch->items[i].item->settle;

        settle->facts = &batch->jobs[batch->items[i].job].facts;
        count += settle_locks_max(settle);
    }
    return count;
}

/* The rows that the items lock, and those among them that may have to be made. */
static bool collect_refs(struct batch *batch, int64_t now_ms)
{
    size_t room = link_facts(batch);
    struct rows_ref *refs = arena_alloc(&batch->arena, room * sizeof(*refs));
    size_t count = 0;

    batch->absent_count = 0;
    batch->absent = NULL;
    if (!refs)
        return false;
    for (size_t i = 0; i < batch->count; i++) {
        struct commit_item *item = batch->items[i].item;
        struct quota_ref own[REFS_OF_ITEM_MAX];
        size_t own_count;

        own_count = settle_locks(&item->settle, item->plan, now_ms, own, REFS_OF_ITEM_MAX);
        for (size_t k = 0; k < own_count; k++) {
            struct rows_ref ref = {item->settle.tenant_id, own[k]};

            refs[count++] = ref;
            if (!may_be_absent(&item->settle, own[k]))
                continue;
            if (!batch->absent)
                batch->absent = arena_alloc(&batch->arena, room * sizeof(*batch->absent));
            if (!batch->absent)
                return false;
            batch->absent[batch->absent_count++] = ref;
        }
    }
    batch->refs = refs;
    batch->refs_count = rows_refs_sort(refs, count);
    if (batch->absent_count > 0)
        batch->absent_count = rows_refs_sort(batch->absent, batch->absent_count);
    return true;
}

/* All that can be known before anything is locked or made. */
static enum status prepare(struct batch *batch, struct commit_item *const *items, size_t count,
                           struct database *aside, int64_t now_ms, bool assume_new)
{
    enum status status;

    CHECK(count > 0 && count <= BATCH_ITEMS_MAX);
    arena_reset(&batch->arena);
    batch->count = count;
    batch->refs_count = 0;
    for (size_t i = 0; i < count; i++)
        batch->items[i] = (struct batch_item){.item = items[i]};
    batch->ledger_part = common_part(batch);
    if (!collect_jobs(batch) || !choose_asked(batch, assume_new))
        return STATUS_EXHAUSTED;
    status = look_aside(batch, aside, now_ms);
    if (status == STATUS_OK && !collect_refs(batch, now_ms))
        status = STATUS_EXHAUSTED;
    return status;
}

enum status batch_begin(struct batch *batch, struct commit_item *const *items, size_t count,
                        struct database *aside, int64_t now_ms, bool assume_new)
{
    enum status status = prepare(batch, items, count, aside, now_ms, assume_new);

    if (status == STATUS_OK && batch->absent_count > 0)
        status = rows_make(aside, &batch->arena, batch->absent, batch->absent_count, NULL);
    return status;
}

struct rows_locked batch_locked(struct batch *batch, struct database *aside)
{
    return rows_locked_find(aside, &batch->arena, batch->refs, batch->refs_count);
}

static bool makes_rows_of(const struct batch *batch, int64_t tenant_id)
{
    for (size_t i = 0; i < batch->absent_count; i++)
        if (batch->absent[i].tenant_id == tenant_id)
            return true;
    return false;
}

enum status batch_probe(struct batch *batch, struct commit_item *const *items, size_t count,
                        struct database *aside, int64_t now_ms, enum batch_way *ret_ways)
{
    enum status status = prepare(batch, items, count, aside, now_ms, false);
    struct rows_locked locked;

    if (status == STATUS_OK)
        locked = batch_locked(batch, aside);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        int64_t tenant_id = items[i]->settle.tenant_id;

        ret_ways[i] = BATCH_FREE;
        if (rows_locked_has(&locked, tenant_id))
            ret_ways[i] = makes_rows_of(batch, tenant_id) ? BATCH_SHUT : BATCH_LOCKED;
    }
    batch->count = 0;
    return status;
}

bool batch_has_tenant(const struct batch *batch, int64_t tenant_id)
{
    size_t low = 0;
    size_t high = batch->jobs_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (batch->jobs[middle].tenant_id < tenant_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < batch->jobs_count && batch->jobs[low].tenant_id == tenant_id;
}

/* --- the first round -------------------------------------------------------------------------- */

void batch_ask(struct batch *batch, struct lane *lane)
{
    enum sql_form form = sql_form(batch->refs_count);
    struct sql_params refs, jobs, asked;

    sql_params_begin(&refs, &batch->arena);
    rows_refs_params(&refs, batch->refs, batch->refs_count);
    sql_params_begin(&jobs, &batch->arena);
    rows_jobs_params(&jobs, batch->jobs, batch->jobs_count);
    lane_begin(lane);
    lane_add(lane, &begin, NULL);
    batch->steps.quotas = lane_add(lane, &rows_quota_lock[form], &refs);
    /* After the locks: in the statement that waits for them it would be the time before. */
    batch->steps.now = lane_add(lane, &rows_now[form], &refs);
    if (batch->asked_count > 0) {
        sql_params_begin(&asked, &batch->arena);
        rows_jobs_params(&asked, batch->asked, batch->asked_count);
        batch->steps.ledger = lane_add(lane, &rows_ledger_find[batch->ledger_part], &asked);
    }
    if (batch->ask_placed)
        batch->steps.placed = lane_add(lane, &rows_placed_find, &jobs);
    batch->steps.fences = lane_add(lane, &rows_fence_find, &jobs);
    if (batch->ask_expired)
        batch->steps.expired = lane_add(lane, &rows_expired_find, &jobs);
}

static enum status read_book(struct batch *batch, struct lane *lane)
{
    struct book *book = &batch->book;
    enum status status;

    *book = (struct book){.arena = &batch->arena, .late_window_ms = batch->late_window_ms};
    book->events_tail = &book->events;
    status = rows_quota_lock_read(lane_take(lane, batch->steps.quotas), book);
    return status == STATUS_OK ? rows_now_read(lane_take(lane, batch->steps.now), book) : status;
}

static enum status read_facts(struct batch *batch, struct lane *lane)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < batch->jobs_count; i++)
        batch->jobs[i].facts = (struct settle_facts){0};
    if (batch->ask_placed)
        status = rows_placed_find_read(lane_take(lane, batch->steps.placed), &batch->arena,
                                       batch->jobs, batch->jobs_count);
    if (status == STATUS_OK && batch->asked_count > 0)
        status = rows_ledger_find_read(lane_take(lane, batch->steps.ledger), &batch->arena,
                                       batch->jobs, batch->jobs_count);
    if (status == STATUS_OK)
        status = rows_fence_find_read(lane_take(lane, batch->steps.fences), &batch->arena,
                                      batch->jobs, batch->jobs_count);
    if (status == STATUS_OK && batch->ask_expired)
        status = rows_expired_find_read(lane_take(lane, batch->steps.expired), &batch->arena,
                                        batch->jobs, batch->jobs_count);
    return status;
}

static int ref_order(const void *a, const void *b)
{
    return rows_ref_compare(*(const struct rows_ref *)a, *(const struct rows_ref *)b);
}

/* True if a reap came in between: the rows of this hold are not among those that are locked. */
static bool expired_moved(const struct batch_item *of, const struct settle_facts *facts)
{
    struct attempt now = {0};

    if (!of->by_job || facts->record)
        return false;
    if (facts->expired)
        now = facts->expired->attempt;
    return now.epoch != of->expired.epoch || now.seq != of->expired.seq;
}

/*
 * True if the job has a row of pg_hold that was not known before the locks, so that nothing has locked its
 * quotas. A reservation id of that attempt names the same quotas.
 */
static bool placed_moved(const struct batch_item *of, const struct settle_facts *facts)
{
    const struct hold *token = of->item->settle.token;

    if (!facts->placed || facts->record)
        return false;
    return attempt_compare(facts->placed->attempt, of->placed) != 0 &&
           (!token || attempt_compare(facts->placed->attempt, token->attempt) != 0);
}

static int made_order(const void *a, const void *b)
{
    const struct settle_item *x = *(struct settle_item *const *)a;
    const struct settle_item *y = *(struct settle_item *const *)b;

    if (x->tenant_id != y->tenant_id)
        return x->tenant_id < y->tenant_id ? -1 : 1;
    return slice_compare(x->job_id, y->job_id);
}

/*
 * True if the decision needs rows that are not locked: while the locks were waited for a period has
 * begun, or the hold has become late. Only a hold that is late needs others than its own.
 */
static bool needs_other_rows(const struct batch *batch, const struct commit_item *item)
{
    const struct settle_item *settle = &item->settle;
    const struct hold *hold = settle->token ? settle->token : settle->live;
    struct quota_ref refs[REFS_OF_ITEM_MAX];
    size_t count;

    if (hold && hold->deadline_ms > batch->book.now_ms)
        return false;
    count = settle_locks(settle, item->plan, batch->book.now_ms, refs, REFS_OF_ITEM_MAX);
    for (size_t i = 0; i < count; i++) {
        struct rows_ref wanted = {settle->tenant_id, refs[i]};

        if (!bsearch(&wanted, batch->refs, batch->refs_count, sizeof(wanted), ref_order))
            return true;
    }
    return false;
}

/* Waiting for the locks of its rows was waiting for the end of the transaction that it was in. */
static bool has_locks(struct batch *batch, const struct settle_item *settle)
{
    const struct hold *hold = settle->token ? settle->token : settle->live;

    hold = hold ? hold : settle->facts->placed;
    hold = hold ? hold : settle->facts->expired;
    for (size_t i = 0; hold && i < hold->quotas_count; i++)
        if (book_find_quota(&batch->book, settle->tenant_id, hold->quotas[i].quota))
            return true;
    return false;
}

/* An earlier run's COMMIT was not heard of, or answered an error. True: now it is known not to be. */
static bool has_not_landed(struct batch *batch, struct commit_item *item)
{
    const struct settle_item *settle = &item->settle;
    const struct hold *hold = settle->token ? settle->token : settle->live;
    bool found = settle->facts->record != NULL;

    hold = hold ? hold : settle->facts->expired;
    if (settle->kind == SETTLE_RELEASE && hold)
        found |= settle_is_fenced(settle->facts, hold->attempt);
    if (item->maybe_landed && !found && has_locks(batch, settle))
        item->maybe_landed = false;
    return !found && !item->maybe_landed;
}

/* Only a hold that nobody can read could say what is meant. */
static bool is_unreadable(const struct batch_item *of, const struct settle_facts *facts)
{
    return !facts->record && ((of->by_job && facts->expired_unreadable && !facts->placed) ||
                              (!of->item->settle.token && facts->placed_unreadable));
}

static void decide_item(struct batch *batch, struct batch_item *of)
{
    struct commit_item *item = of->item;
    struct settle_item *settle = &item->settle;

    settle->facts = &batch->jobs[of->job].facts;
    if (is_unreadable(of, settle->facts)) {
        item->refused = item->maybe_landed ? STATUS_UNKNOWN : STATUS_CORRUPT;
        of->refused = true;
        return;
    }
    of->again = expired_moved(of, settle->facts) || placed_moved(of, settle->facts) ||
                needs_other_rows(batch, item);
    if (of->again)
        return;
    of->refused = has_not_landed(batch, item) && item->refused != STATUS_OK;
    if (of->refused)
        return;
    settle_decide(&batch->book, settle);
    /* What an earlier run of this very item has written is no repeat of the caller's. */
    if (item->maybe_landed &&
        (settle->outcome == SETTLE_COMMITTED || settle->outcome == SETTLE_RELEASED))
        settle->replayed = false;
    if (settle->made_record || settle->made_fence) /* and what is dropped, is dropped with these */
        batch->made[batch->made_count++] = settle;
}

/* A record of a job that was assumed new is one that this batch makes, and proves it. */
static void run_unproven_again(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct rows_job *job = &batch->jobs[batch->items[i].job];

        batch->items[i].again |= job->assumed_new && !job->facts.record;
    }
}

enum status batch_decide(struct batch *batch, struct lane *lane)
{
    enum status status = read_book(batch, lane);

    if (status == STATUS_OK)
        status = read_facts(batch, lane);
    if (status != STATUS_OK)
        return status;
    if (arena_used(&batch->arena) > ARENA_READ_BYTES) /* fewer items need less */
        return STATUS_EXHAUSTED;
    if (!book_audit(&batch->book, batch->contradiction, sizeof(batch->contradiction)))
        return STATUS_EXHAUSTED;
    batch->made_count = 0;
    batch->made = arena_array(&batch->arena, batch->count, sizeof(*batch->made));
    if (!batch->made)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < batch->count; i++)
        decide_item(batch, &batch->items[i]);
    run_unproven_again(batch);
    for (size_t i = 0; i < batch->book.quotas_count; i++)
        if (batch->book.quotas[i].dirty)
            book_refill(&batch->book, &batch->book.quotas[i], batch->book.now_ms + batch->lease_ms);
    qsort(batch->made, batch->made_count, sizeof(struct settle_item *), made_order);
    return STATUS_OK;
}

/* --- the second round ------------------------------------------------------------------------- */

static void write_events(struct batch *batch, struct lane *lane)
{
    struct sql_params params;
    size_t count = 0;

    for (const struct event_row *event = batch->book.events; event; event = event->next)
        count++;
    batch->event_tenants_count = 0;
    if (count == 0)
        return;
    batch->event_tenants = arena_array(&batch->arena, count, sizeof(*batch->event_tenants));
    CHECK(batch->event_tenants);
    batch->event_tenants_count = rows_event_tenants(&batch->book, batch->event_tenants, count);
    sql_params_begin(&params, &batch->arena);
    rows_event_lock_params(&params, batch->event_tenants, batch->event_tenants_count);
    lane_add(lane, &rows_event_lock, &params);
    sql_params_begin(&params, &batch->arena);
    rows_event_insert_params(&params, &batch->book, &count);
    batch->event_step = lane_add(lane, &rows_event_insert, &params);
}

void batch_write(struct batch *batch, struct lane *lane)
{
    struct sql_params params;
    size_t count;

    lane_begin(lane);
    sql_params_begin(&params, &batch->arena);
    rows_ledger_insert_params(&params, batch->made, batch->made_count, &batch->entries_count);
    if (batch->entries_count > 0 || params.bad)
        lane_add(lane, &rows_ledger_insert[batch->ledger_part], &params);
    sql_params_begin(&params, &batch->arena);
    rows_fence_insert_params(&params, batch->made, batch->made_count, batch->book.now_ms,
                             batch->late_window_ms + LIFETIME_AND_HOUR_MS, &batch->fences_count);
    if (batch->fences_count > 0 || params.bad)
        lane_add(lane, &rows_fence_insert, &params);
    sql_params_begin(&params, &batch->arena);
    rows_dropped_names(&params, batch->made, batch->made_count, &count);
    if (count > 0 || params.bad)
        lane_add(lane, &rows_placed_delete, &params);
    sql_params_begin(&params, &batch->arena);
    rows_quota_update_params(&params, &batch->book, &count);
    if (count > 0 || params.bad)
        lane_add(lane, &rows_quota_update[sql_form(count)], &params);
    sql_params_begin(&params, &batch->arena);
    rows_lease_update_params(&params, &batch->book, &count);
    if (count > 0 || params.bad)
        lane_add(lane, &rows_lease_update, &params);
    write_events(batch, lane);
    batch->commit_step = lane_add(lane, &commit, NULL);
}

bool batch_committed(struct batch *batch, struct lane *lane)
{
    PGresult *result = lane_take(lane, batch->commit_step);
    bool committed = result && strcmp(PQcmdStatus(result), "COMMIT") == 0;

    PQclear(result);
    if (committed && batch->event_tenants_count > 0)
        rows_event_told(lane_take(lane, batch->event_step));
    return committed;
}

bool batch_commit_failed(const struct batch *batch, const struct lane *lane)
{
    return lane_failed_step(lane) == batch->commit_step;
}

void batch_may_have_landed(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].item->settle.made_record || batch->items[i].item->settle.made_fence)
            batch->items[i].item->maybe_landed = true;
}

/* --- answers ---------------------------------------------------------------------------------- */

static struct slice copy_slice(struct arena *arena, struct slice text)
{
    char *copy = arena_strndup(arena, text.len ? text.data : "", text.len);

    CHECK(copy);
    return slice_of(copy, text.len);
}

static void *copy_array(struct arena *arena, const void *from, size_t count, size_t size)
{
    void *copy = arena_array(arena, count ? count : 1, size);

    CHECK(copy);
    if (count > 0)
        memcpy(copy, from, count * size);
    return copy;
}

static struct settle_record *copy_record(struct arena *arena, const struct settle_record *from)
{
    struct settle_record *record = copy_array(arena, from, 1, sizeof(*from));

    record->scope = copy_slice(arena, from->scope);
    record->entries = copy_array(arena, from->entries, from->entries_count, sizeof(*from->entries));
    for (size_t i = 0; i < record->entries_count; i++) {
        struct settle_entry *entry = &record->entries[i];

        entry->meter = copy_slice(arena, entry->meter);
        entry->counted =
            copy_array(arena, entry->counted, entry->counted_count, sizeof(*entry->counted));
    }
    return record;
}

static const struct hold *copy_hold(struct arena *arena, const struct hold *from)
{
    struct hold *hold = copy_array(arena, from, 1, sizeof(*from));

    hold->scope = copy_slice(arena, from->scope);
    hold->meters = copy_array(arena, from->meters, from->meters_count, sizeof(*from->meters));
    for (size_t i = 0; i < hold->meters_count; i++)
        hold->meters[i].meter = copy_slice(arena, hold->meters[i].meter);
    hold->quotas = copy_array(arena, from->quotas, from->quotas_count, sizeof(*from->quotas));
    hold->warnings = NULL; /* they are a Reserve's */
    return hold;
}

static void add_row(struct batch *batch, struct commit_item *item, size_t room,
                    struct quota_ref ref)
{
    const struct limit *limit = item->plan ? plan_limit(item->plan, ref.limit_id) : NULL;
    struct quota_row *row = book_find_quota(&batch->book, item->settle.tenant_id, ref);
    struct quota_row *copy;

    if (!row)
        return;
    for (size_t i = 0; i < item->quotas_count; i++)
        if (quota_ref_equal(item->quotas[i].ref, ref))
            return;
    CHECK(item->quotas_count < room);
    copy = &item->quotas[item->quotas_count++];
    *copy = *row;
    /* The plan lives as long as the item does. */
    copy->limit_name = limit ? limit->name : copy_slice(item->arena, row->limit_name);
    copy->scope = limit ? limit->scope : copy_slice(item->arena, row->scope);
    copy->meter = limit ? limit->meter : copy_slice(item->arena, row->meter);
}

/* The rows of the hold that was decided on and of those it was counted against. */
static void answer_rows(struct batch *batch, struct commit_item *item)
{
    const struct settle_record *record = item->settle.record;
    const struct hold *hold = item->settle.subject;
    size_t room;

    hold = hold ? hold : item->settle.token;
    hold = hold ? hold : item->settle.live;
    room = hold ? hold->quotas_count : 0;
    for (size_t i = 0; record && i < record->entries_count; i++)
        room += record->entries[i].counted_count;
    item->quotas_count = 0;
    item->quotas = arena_array(item->arena, room ? room : 1, sizeof(*item->quotas));
    CHECK(item->quotas);
    for (size_t i = 0; hold && i < hold->quotas_count; i++)
        add_row(batch, item, room, hold->quotas[i].quota);
    for (size_t i = 0; record && i < record->entries_count; i++)
        for (size_t k = 0; k < record->entries[i].counted_count; k++)
            add_row(batch, item, room, record->entries[i].counted[k].ref);
}

void batch_answer(struct batch *batch, struct batch_item *of)
{
    struct commit_item *item = of->item;
    struct settle_item *settle = &item->settle;

    item->status = STATUS_OK;
    item->now_ms = batch->book.now_ms;
    answer_rows(batch, item);
    if (settle->record)
        settle->record = copy_record(item->arena, settle->record);
    if (settle->subject && settle->subject != settle->token && settle->subject != settle->live)
        settle->subject = copy_hold(item->arena, settle->subject);
    if (settle->outcome == SETTLE_OVERRUN || settle->outcome == SETTLE_TOO_LARGE)
        settle->overrun_meter = copy_slice(item->arena, settle->overrun_meter);
    if (settle->outcome == SETTLE_BAD_METERS)
        settle->bad_meter = copy_slice(item->arena, settle->bad_meter);
    settle->facts = NULL;
}
