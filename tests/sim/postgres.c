#include "tests/sim/postgres_rows.h"

#include "base/check.h"
#include "base/hash.h"
#include "tests/sim/fibre.h"
#include "tests/sim/mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRANSACT_TRIES = 5, OWNERS_MAX = 256, LOST_EVERY = 40 };

static struct postgres *current;

void postgres_use(struct postgres *postgres)
{
    current = postgres;
}

void postgres_init(struct postgres *postgres, struct chaos *chaos, int64_t (*now_ms)(void *user),
                   void *user)
{
    *postgres = (struct postgres){.chaos = chaos, .now_ms = now_ms, .user = user};
    arena_init(&postgres->storage, 1 << 20, SIZE_MAX / 2);
    postgres->owners = calloc(OWNERS_MAX, sizeof(*postgres->owners));
    CHECK(postgres->owners);
}

void postgres_done(struct postgres *postgres)
{
    arena_done(&postgres->storage);
    free(postgres->owners);
}

void *pg_alloc(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

struct slice pg_keep(struct postgres *pg, struct slice text)
{
    char *copy = arena_strndup(&pg->storage, text.len ? text.data : "", text.len);

    CHECK(copy);
    return slice_of(copy, text.len);
}

/* --- the connection ----------------------------------------------------------------------------- */

struct database *sim_database_create(const struct database_options *options)
{
    struct database *db = calloc(1, sizeof(*db));

    CHECK(db);
    db->options = *options;
    db->pg = current;
    db->group = fibre_group();
    return db;
}

void sim_database_destroy(struct database *database)
{
    free(database);
}

const char *sim_database_sqlstate(const struct database *database)
{
    (void)database;
    return "";
}

const char *sim_database_error(const struct database *database)
{
    return database->error;
}

void pg_pause(struct postgres *pg)
{
    int64_t us = chaos_delay_us(pg->chaos, &pg->chaos->postgres);

    if (us > 0)
        fibre_sleep_us(us);
}

static enum status refuse(struct database *db)
{
    snprintf(db->error, sizeof(db->error), "away in the simulation");
    return STATUS_UNAVAILABLE;
}

enum status pg_ask(struct database *db)
{
    if (db->pg->chaos->postgres_away)
        return refuse(db);
    pg_pause(db->pg);
    if (db->pg->chaos->postgres_away ||
        chaos_fate(db->pg->chaos, &db->pg->chaos->postgres) != FATE_DONE || pg_is_shut(db))
        return refuse(db);
    return STATUS_OK;
}

int64_t pg_now_ms(struct database *db)
{
    int64_t before_us = fibre_now_us(), now_ms = db->pg->now_ms(db->pg->user);

    if (db->options.estimate && db->options.clock)
        estimate_observe(db->options.estimate, now_ms, before_us,
                         before_us + db->pg->lag_us[db->group % PG_LAGS]);
    return now_ms;
}

enum status sim_database_ping(struct database *database)
{
    enum status status = pg_ask(database);

    if (status == STATUS_OK)
        (void)pg_now_ms(database);
    return status;
}

/* --- finding ------------------------------------------------------------------------------------ */

struct pg_tenant *postgres_tenant(struct postgres *postgres, int64_t tenant_id)
{
    struct pg_tenant *tenant = postgres->tenants;

    while (tenant && tenant->info.tenant_id != tenant_id)
        tenant = tenant->next;
    return tenant;
}

struct pg_tenant *postgres_tenant_named(struct postgres *postgres, struct slice name)
{
    struct pg_tenant *tenant = postgres->tenants;

    while (tenant && !slice_equal(tenant->info.tenant, name))
        tenant = tenant->next;
    return tenant;
}

struct pg_job *postgres_job_of(const struct pg_tenant *tenant, struct slice job_id)
{
    struct pg_job *job = tenant->jobs[hash_bytes(job_id.data, job_id.len) % PG_JOB_BUCKETS];

    while (job && !slice_equal(job->job_id, job_id))
        job = job->next;
    return job;
}

struct pg_job *postgres_job(struct postgres *postgres, int64_t tenant_id, struct slice job_id,
                            bool make)
{
    struct pg_tenant *tenant = postgres_tenant(postgres, tenant_id);
    struct pg_job **link;

    if (!tenant)
        return NULL;
    link = &tenant->jobs[hash_bytes(job_id.data, job_id.len) % PG_JOB_BUCKETS];
    while (*link && !slice_equal((*link)->job_id, job_id))
        link = &(*link)->next;
    if (!*link && make) {
        *link = pg_alloc(&postgres->storage, 1, sizeof(**link));
        (*link)->job_id = pg_keep(postgres, job_id);
    }
    return *link;
}

struct pg_quota *pg_find_quota(struct pg_tenant *tenant, struct quota_ref ref)
{
    struct pg_quota *quota = tenant ? tenant->quotas : NULL;

    while (quota && !quota_ref_equal(quota->row.ref, ref))
        quota = quota->next;
    return quota;
}

struct pg_limit *pg_limit_by_id(struct pg_tenant *tenant, int64_t limit_id)
{
    struct pg_limit *limit = tenant ? tenant->limits : NULL;

    while (limit && limit->limit.limit_id != limit_id)
        limit = limit->next;
    return limit;
}

int64_t pg_lent_aside(const struct pg_tenant *tenant, struct quota_ref ref)
{
    int64_t units = 0;

    for (const struct pg_lease *lease = tenant->leases; lease; lease = lease->next)
        if (quota_ref_equal(lease->row.ref, ref))
            units += lease->row.granted - lease->row.returned - lease->row.spent;
    return units;
}

/* --- locks -------------------------------------------------------------------------------------- */

static void own(struct postgres *pg, int64_t transaction, int group)
{
    for (size_t i = 0; i < OWNERS_MAX; i++)
        if (pg->owners[i].transaction == 0) {
            pg->owners[i] = (struct pg_lock_owner){transaction, group};
            return;
        }
    CHECK_MSG(false, "more than %d transactions at once", OWNERS_MAX);
}

static void disown(struct postgres *pg, int64_t transaction)
{
    for (size_t i = 0; i < OWNERS_MAX; i++)
        if (pg->owners[i].transaction == transaction)
            pg->owners[i].transaction = 0;
}

static void release(struct postgres *pg, int64_t transaction)
{
    for (struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next) {
        for (struct pg_quota *quota = tenant->quotas; quota; quota = quota->next)
            if (quota->locked_by == transaction)
                quota->locked_by = 0;
        for (struct pg_limit *limit = tenant->limits; limit; limit = limit->next)
            if (limit->locked_by == transaction)
                limit->locked_by = 0;
    }
    disown(pg, transaction);
    fibre_wake(pg);
}

void postgres_group_gone(struct postgres *postgres, int group)
{
    for (size_t i = 0; i < OWNERS_MAX; i++)
        if (postgres->owners[i].transaction != 0 && postgres->owners[i].group == group)
            release(postgres, postgres->owners[i].transaction);
}

/* One outsider for each tenant, at most one at a time. */
static int64_t outsider(int64_t tenant_id)
{
    return -tenant_id;
}

void postgres_lock_tenant(struct postgres *postgres, int64_t tenant_id)
{
    struct pg_tenant *tenant = postgres_tenant(postgres, tenant_id);

    for (struct pg_quota *quota = tenant->quotas; quota; quota = quota->next)
        if (quota->locked_by == 0)
            quota->locked_by = outsider(tenant_id);
}

void postgres_unlock_tenant(struct postgres *postgres, int64_t tenant_id)
{
    release(postgres, outsider(tenant_id));
}

static bool wait_for(struct pg_tx *tx, int64_t *lock)
{
    int64_t until_us = mutant_is(MUTANT_LOCK_WAITS_FOR_EVER)
                           ? FIBRE_FOREVER_US
                           : fibre_now_us() + tx->lock_timeout_us;

    while (*lock != 0 && *lock != tx->number)
        if (!fibre_wait(tx->pg, until_us))
            return false;
    *lock = tx->number;
    return true;
}

bool pg_is_locked(struct postgres *pg, int64_t tenant_id)
{
    const struct pg_tenant *tenant = postgres_tenant(pg, tenant_id);

    for (const struct pg_quota *quota = tenant ? tenant->quotas : NULL; quota; quota = quota->next)
        if (quota->locked_by != 0)
            return true;
    return false;
}

bool pg_lock_limit(struct pg_tx *tx, struct pg_limit *limit)
{
    return wait_for(tx, &limit->locked_by);
}

/* --- transactions ------------------------------------------------------------------------------- */

enum status pg_begin(struct database *db, struct pg_tx *tx, struct arena *arena,
                     int64_t lock_timeout_ms)
{
    enum status status = pg_ask(db);

    if (lock_timeout_ms == 0)
        lock_timeout_ms = db->options.lock_timeout_ms ? db->options.lock_timeout_ms
                                                      : db->options.statement_timeout_ms / 2;
    *tx = (struct pg_tx){.pg = db->pg,
                         .number = ++db->pg->transactions,
                         .timeline = db->pg->timeline,
                         .lock_timeout_us = lock_timeout_ms * 1000,
                         .arena = arena};
    tx->changes_tail = &tx->changes;
    if (status == STATUS_OK)
        own(db->pg, tx->number, db->group);
    return status;
}

void pg_rollback(struct pg_tx *tx)
{
    release(tx->pg, tx->number);
}

struct pg_change *pg_add(struct pg_tx *tx, enum pg_change_kind kind, int64_t tenant_id)
{
    struct pg_change *change = pg_alloc(&tx->pg->storage, 1, sizeof(*change));

    change->kind = kind;
    change->tenant_id = tenant_id;
    *tx->changes_tail = change;
    tx->changes_tail = &change->next;
    return change;
}

static struct pg_lease **find_lease(struct pg_tenant *tenant, const struct lease_row *row)
{
    struct pg_lease **link = &tenant->leases;

    while (*link && ((*link)->row.lease_id != row->lease_id ||
                     !quota_ref_equal((*link)->row.ref, row->ref)))
        link = &(*link)->next;
    return link;
}

static void land_lease(struct postgres *pg, struct pg_tenant *tenant, const struct lease_row *row,
                       bool drop)
{
    struct pg_lease **link = find_lease(tenant, row);

    if (drop) {
        if (*link)
            *link = (*link)->next;
        return;
    }
    if (!*link) {
        *link = pg_alloc(&pg->storage, 1, sizeof(**link));
    }
    (*link)->row = *row;
    (*link)->row.dirty = false;
}

static void land_quota(struct postgres *pg, struct pg_tenant *tenant, const struct quota_row *row)
{
    struct pg_quota *quota = pg_find_quota(tenant, row->ref);

    if (!quota) {
        quota = pg_alloc(&pg->storage, 1, sizeof(*quota));
        quota->next = tenant->quotas;
        tenant->quotas = quota;
    }
    quota->row = *row;
    quota->row.dirty = false;
}

void pg_land_event(struct postgres *pg, struct pg_tenant *tenant, const struct ledger_event *from)
{
    struct pg_event *event = pg_alloc(&pg->storage, 1, sizeof(*event));

    event->event = *from;
    if (from->seq == 0)
        event->event.seq = ++tenant->event_seq;
    event->event.at_ms = pg->now_ms(pg->user);
    if (!tenant->events_tail)
        tenant->events_tail = &tenant->events;
    *tenant->events_tail = event;
    tenant->events_tail = &event->next;
}

static void land_fence(struct postgres *pg, struct pg_job *job, struct attempt attempt)
{
    struct attempt *fences = pg_alloc(&pg->storage, job->fences_count + 1, sizeof(*fences));

    if (job->fences_count > 0)
        memcpy(fences, job->fences, job->fences_count * sizeof(*fences));
    fences[job->fences_count++] = attempt;
    job->fences = fences;
    if (attempt_is_in_redis(attempt))
        job->fenced_ms = pg->now_ms(pg->user);
}

static void land_expired(struct postgres *pg, struct pg_job *job, const struct pg_change *change)
{
    struct pg_expired *expired = pg_alloc(&pg->storage, 1, sizeof(*expired));

    *expired = (struct pg_expired){job->expired, change->attempt, change->text,
                                   pg->now_ms(pg->user)};
    job->expired = expired;
}

/* A row of another attempt stays. */
static void land_placed(struct postgres *pg, struct pg_job *job, const struct pg_change *change)
{
    struct hold *hold;

    if (change->kind != PG_TAKE_PLACED &&
        (!job->placed || attempt_compare(job->placed_attempt, change->attempt) != 0))
        return;
    job->placed = NULL;
    if (change->kind == PG_DROP_PLACED)
        return;
    CHECK(hold_parse(&pg->storage, slice_from_cstr(change->text), &hold));
    job->placed = change->text;
    job->placed_attempt = hold->attempt;
    job->placed_deadline_ms = hold->deadline_ms;
}

static void land(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);
    struct pg_job *job = change->job_id.len > 0
                             ? postgres_job(pg, change->tenant_id, change->job_id, true)
                             : NULL;

    switch (change->kind) {
    case PG_PUT_QUOTA:
        land_quota(pg, tenant, &change->quota);
        break;
    case PG_PUT_LEASE:
    case PG_DROP_LEASE:
        land_lease(pg, tenant, &change->lease, change->kind == PG_DROP_LEASE);
        break;
    case PG_ADD_RECORD:
        CHECK(!job->record);
        job->record = change->record;
        break;
    case PG_ADD_CORRECTION:
        ((struct pg_correction *)change->user)->next = job->corrections;
        job->corrections = change->user;
        break;
    case PG_ADD_FENCE:
        land_fence(pg, job, change->attempt);
        break;
    case PG_ADD_EXPIRED:
        land_expired(pg, job, change);
        break;
    case PG_TAKE_PLACED:
    case PG_MOVE_PLACED:
    case PG_DROP_PLACED:
        land_placed(pg, job, change);
        break;
    case PG_ADD_EVENT:
        if (!mutant_is(MUTANT_EVENT_BEFORE_COMMIT))
            pg_land_event(pg, tenant, &change->event);
        break;
    case PG_CALL:
        change->call(pg, change);
        break;
    }
}

/* A COMMIT on its way. */
struct commit {
    struct pg_tx tx;
    bool lands, done, duplicate;
    bool cut; /* a standby took over meanwhile */
};

/* The keys of ledger and pg_hold: a job is there once, whoever else decided on it meanwhile. */
static bool is_duplicate(const struct pg_tx *tx)
{
    for (const struct pg_change *change = tx->changes; change; change = change->next) {
        if (change->kind == PG_ADD_CORRECTION && pg_is_corrected(tx->pg, change))
            return true;
    }
    for (const struct pg_change *change = tx->changes; change; change = change->next) {
        const struct pg_job *job =
            change->kind == PG_ADD_RECORD || change->kind == PG_TAKE_PLACED
                ? postgres_job(tx->pg, change->tenant_id, change->job_id, false)
                : NULL;

        if (job && (change->kind == PG_ADD_RECORD ? job->record != NULL : job->placed != NULL))
            return true;
    }
    return false;
}

static void arrive(void *user)
{
    struct commit *commit = user;

    commit->cut = commit->tx.timeline != commit->tx.pg->timeline;
    commit->lands = commit->lands && !commit->cut;
    commit->duplicate = commit->lands && is_duplicate(&commit->tx);
    commit->lands = commit->lands && !commit->duplicate;
    for (struct pg_change *change = commit->tx.changes; commit->lands && change;
         change = change->next)
        land(commit->tx.pg, change);
    commit->tx.pg->commits += commit->lands;
    commit->done = true;
    release(commit->tx.pg, commit->tx.number);
    fibre_wake(commit);
}

/* One that goes away in the middle of a COMMIT has it or not. */
static enum fate fate_of_commit(struct chaos *chaos)
{
    if (!chaos->postgres_away)
        return chaos_fate(chaos, &chaos->postgres);
    return dice_one_in(&chaos->dice, 2) ? FATE_LOST_BEFORE : FATE_LOST_AFTER;
}

/* The holes: a number that stays taken whatever becomes of the event; an event that is out already. */
static void tell_early(struct pg_tx *tx)
{
    for (struct pg_change *change = tx->changes; change; change = change->next) {
        struct pg_tenant *tenant = postgres_tenant(tx->pg, change->tenant_id);

        if (change->kind != PG_ADD_EVENT)
            continue;
        if (mutant_is(MUTANT_EVENTS_BY_SEQUENCE))
            change->event.seq = ++tenant->event_seq;
        if (mutant_is(MUTANT_EVENT_BEFORE_COMMIT))
            pg_land_event(tx->pg, tenant, &change->event);
    }
}

enum status pg_commit(struct pg_tx *tx)
{
    struct postgres *pg = tx->pg;
    struct commit *commit = pg_alloc(&pg->storage, 1, sizeof(*commit));
    enum fate fate = fate_of_commit(pg->chaos);
    int64_t us = chaos_delay_us(pg->chaos, &pg->chaos->postgres);

    tell_early(tx);
    *commit = (struct commit){.tx = *tx, .lands = true};
    /* From here on it does not depend on who sent it. */
    disown(pg, tx->number);
    if (fate == FATE_LATE)
        us += dice_between(&pg->chaos->dice, 50000, 3000000);
    if (fate == FATE_LOST_BEFORE || fate == FATE_CUT || fate == FATE_REFUSED)
        commit->lands = false;
    if (mutant_is(MUTANT_LOST_AFTER_ANSWER) && tx->number % LOST_EVERY == 0)
        commit->lands = false;
    if (us == 0)
        arrive(commit);
    else
        fibres_at(fibre_now_us() + us, arrive, commit);
    if (fate == FATE_LATE) {
        pg_pause(pg);
        return STATUS_UNKNOWN;
    }
    while (!commit->done)
        fibre_wait(commit, FIBRE_FOREVER_US);
    pg_pause(pg);
    if (commit->cut || pg->timeline != tx->timeline)
        return STATUS_UNKNOWN;
    if (fate != FATE_DONE && mutant_is(MUTANT_COMMIT_FAILED_MEANS_NO))
        return STATUS_UNAVAILABLE;
    if (fate != FATE_DONE)
        return mutant_is(MUTANT_OK_BEFORE_COMMIT) ? STATUS_OK : STATUS_UNKNOWN;
    return commit->duplicate ? STATUS_CONFLICT : STATUS_OK;
}

enum status pg_transact(struct database *db, enum status (*body)(struct database *db, void *user),
                        void *user)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < TRANSACT_TRIES && status == STATUS_CONFLICT; i++)
        status = body(db, user);
    return status;
}

/* --- rows --------------------------------------------------------------------------------------- */

static int ref_compare(const void *a, const void *b)
{
    const struct pg_ref *one = a, *other = b;

    if (one->tenant_id != other->tenant_id)
        return one->tenant_id < other->tenant_id ? -1 : 1;
    return quota_ref_compare(one->ref, other->ref);
}

size_t pg_refs_sort(struct pg_ref *refs, size_t count)
{
    size_t kept = 0;

    qsort(refs, count, sizeof(*refs), ref_compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || ref_compare(&refs[kept - 1], &refs[i]) != 0)
            refs[kept++] = refs[i];
    return kept;
}

static struct quota_row new_row(const struct pg_tenant *tenant, const struct pg_limit *limit,
                                int64_t start_ms)
{
    return (struct quota_row){
        .tenant_id = tenant->info.tenant_id,
        .ref = {limit->limit.limit_id, start_ms},
        .limit_name = limit->limit.limit_name,
        .scope = limit->limit.scope,
        .meter = limit->limit.meter,
        .period = limit->limit.period,
        .period_end_ms = calendar_end_ms(&limit->limit.calendar, limit->limit.period, start_ms),
        .stops = {.soft = limit->soft,
                  .amount = limit->limit.amount,
                  .cap = limit->cap,
                  .unlimited = limit->limit.unlimited},
        .state = QUOTA_OPEN,
    };
}

static bool has_earlier(const struct pg_tenant *tenant, struct quota_ref ref)
{
    for (const struct pg_quota *quota = tenant->quotas; quota; quota = quota->next)
        if (quota->row.ref.limit_id == ref.limit_id &&
            quota->row.ref.period_start_ms < ref.period_start_ms)
            return true;
    return false;
}

/* Of rows that another transaction makes meanwhile the second one is not made. */
static void make_row(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);
    struct pg_limit *limit = pg_limit_by_id(tenant, change->quota.ref.limit_id);
    struct quota_row row;

    if (!limit || limit->deleted || pg_find_quota(tenant, change->quota.ref))
        return;
    row = new_row(tenant, limit, change->quota.ref.period_start_ms);
    if (has_earlier(tenant, row.ref)) {
        struct ledger_event event = {
            .tenant_id = row.tenant_id,
            .kind = EVENT_PERIOD_STARTED,
            .has_quota = true,
            .limit_name = row.limit_name,
            .period_start_ms = row.ref.period_start_ms,
            .level = threshold_level(&row.stops, 0),
        };

        pg_land_event(pg, tenant, &event);
    }
    land_quota(pg, tenant, &row);
}

enum status pg_make(struct database *db, struct arena *arena, const struct pg_ref *refs,
                    size_t count)
{
    struct pg_tx tx;
    enum status status;
    size_t absent = 0;

    for (size_t i = 0; i < count; i++)
        absent += !pg_find_quota(postgres_tenant(db->pg, refs[i].tenant_id), refs[i].ref);
    if (absent == 0)
        return STATUS_OK;
    status = pg_begin(db, &tx, arena, 0);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        struct pg_tenant *tenant = postgres_tenant(db->pg, refs[i].tenant_id);
        struct pg_limit *limit = pg_limit_by_id(tenant, refs[i].ref.limit_id);

        if (!limit || limit->deleted || pg_find_quota(tenant, refs[i].ref))
            continue;
        /* FOR SHARE: nobody changes the limit until this has landed. */
        if (!pg_lock_limit(&tx, limit)) {
            pg_rollback(&tx);
            return STATUS_CONFLICT;
        }
        {
            struct pg_change *change = pg_add(&tx, PG_CALL, refs[i].tenant_id);

            change->quota.ref = refs[i].ref;
            change->call = make_row;
        }
    }
    status = pg_commit(&tx);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}

static size_t count_leases(struct postgres *pg, const struct pg_ref *refs, size_t count)
{
    size_t leases = 0;

    for (size_t i = 0; i < count; i++) {
        const struct pg_tenant *tenant = postgres_tenant(pg, refs[i].tenant_id);

        for (const struct pg_lease *lease = tenant ? tenant->leases : NULL; lease;
             lease = lease->next)
            leases += quota_ref_equal(lease->row.ref, refs[i].ref);
    }
    return leases;
}

static int lease_compare(const void *a, const void *b)
{
    const struct lease_row *one = a, *other = b;
    int order = one->tenant_id != other->tenant_id ? (one->tenant_id < other->tenant_id ? -1 : 1)
                                                   : quota_ref_compare(one->ref, other->ref);

    return order != 0 ? order : (one->lease_id > other->lease_id) - (one->lease_id < other->lease_id);
}

/* Those that it has locked: what was made since is not among what the statement saw. */
static void read_rows(const struct pg_tx *tx, struct book *book, const struct pg_ref *refs, size_t count)
{
    struct postgres *pg = tx->pg;

    book->quotas = pg_alloc(book->arena, count + 1, sizeof(*book->quotas));
    book->leases =
        pg_alloc(book->arena, count_leases(pg, refs, count) + 1, sizeof(*book->leases));
    for (size_t i = 0; i < count; i++) {
        struct pg_tenant *tenant = postgres_tenant(pg, refs[i].tenant_id);
        const struct pg_quota *quota = pg_find_quota(tenant, refs[i].ref);
        struct quota_row *row = &book->quotas[book->quotas_count];

        if (!quota || quota->locked_by != tx->number)
            continue;
        *row = quota->row;
        row->shard = tenant->shard;
        row->epoch = pg->authority[tenant->shard].view.epoch;
        row->config_version = tenant->info.config_version;
        row->reaped_to_ms = postgres_reaped_to_ms(pg, row);
        row->dirty = false;
        book->quotas_count++;
        for (const struct pg_lease *lease = tenant->leases; lease; lease = lease->next)
            if (quota_ref_equal(lease->row.ref, refs[i].ref))
                book->leases[book->leases_count++] = lease->row;
    }
    qsort(book->leases, book->leases_count, sizeof(*book->leases), lease_compare);
}

enum status pg_lock(struct pg_tx *tx, struct database *db, struct book *book,
                    const struct pg_ref *refs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct pg_quota *quota =
            pg_find_quota(postgres_tenant(tx->pg, refs[i].tenant_id), refs[i].ref);

        if (quota && !wait_for(tx, &quota->locked_by)) {
            tx->pg->conflicts++;
            return STATUS_CONFLICT;
        }
    }
    pg_pause(tx->pg);
    book->now_ms = pg_now_ms(db);
    book->events = NULL;
    book->events_tail = &book->events;
    book->quotas_count = book->leases_count = 0;
    read_rows(tx, book, refs, count);
    return STATUS_OK;
}

static void write_event(struct pg_tx *tx, const struct event_row *row)
{
    struct ledger_event *event = &pg_add(tx, PG_ADD_EVENT, row->tenant_id)->event;

    *event = (struct ledger_event){
        .tenant_id = row->tenant_id,
        .kind = row->kind,
        .direction = row->direction,
        .has_quota = row->quota != NULL,
        .committed = row->committed,
        .debt = row->debt,
        .ledger_seq = row->ledger_seq,
        .level = row->level, .held = row->held,
        .job_id = pg_keep(tx->pg, row->job_id),
        .attempt = row->attempt,
        .recovered_from = row->recovered_from,
    };
    if (!row->quota)
        return;
    event->limit_name = pg_keep(tx->pg, row->quota->limit_name);
    event->scope = pg_keep(tx->pg, row->quota->scope);
    event->meter = pg_keep(tx->pg, row->quota->meter);
    event->period = row->quota->period;
    event->period_start_ms = row->quota->ref.period_start_ms;
    event->period_end_ms = row->quota->period_end_ms;
    event->stops = row->reserved ? row->stops : row->quota->stops;
    event->basis = row->kind > EVENT_HARD_CAP ? 0 : row->reserved ? 2 : 1;
}

void pg_write(struct pg_tx *tx, struct book *book)
{
    for (size_t i = 0; i < book->quotas_count; i++)
        if (book->quotas[i].dirty)
            pg_add(tx, PG_PUT_QUOTA, book->quotas[i].tenant_id)->quota = book->quotas[i];
    for (size_t i = 0; i < book->leases_count; i++)
        if (book->leases[i].dirty)
            pg_add(tx, PG_PUT_LEASE, book->leases[i].tenant_id)->lease = book->leases[i];
    for (const struct event_row *event = book->events; event; event = event->next)
        write_event(tx, event);
}
