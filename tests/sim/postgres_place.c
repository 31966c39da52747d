/*
 * Holds in Postgres: ledger/place.c and ledger/placed.c over pretended rows.
 */
#include "tests/sim/postgres_rows.h"

#include "base/check.h"
#include "quota/lease.h"
#include "tests/sim/mutants.h"

#include <stdlib.h>

/* Jobs that a transaction is about; those of one job share its facts. */
struct about {
    struct pg_about {
        int64_t tenant_id;
        struct slice job_id;
        struct settle_facts facts;
        struct attempt before;
    } * jobs;
    size_t count;
};

static struct pg_about *about_job(struct about *about, int64_t tenant_id, struct slice job_id)
{
    for (size_t i = 0; i < about->count; i++)
        if (about->jobs[i].tenant_id == tenant_id && slice_equal(about->jobs[i].job_id, job_id))
            return &about->jobs[i];
    about->jobs[about->count] = (struct pg_about){.tenant_id = tenant_id, .job_id = job_id};
    return &about->jobs[about->count++];
}

static void read_about(struct about *about, struct postgres *pg, struct arena *arena)
{
    for (size_t i = 0; i < about->count; i++)
        about->jobs[i].facts = pg_facts(pg, arena, about->jobs[i].tenant_id, about->jobs[i].job_id);
}

static struct pg_change *add_placed(struct pg_tx *tx, enum pg_change_kind kind, int64_t tenant_id,
                                    struct slice job_id, const struct hold *hold)
{
    struct pg_change *change = pg_add(tx, kind, tenant_id);
    char *text = hold_text(tx->arena, hold);

    CHECK(text);
    change->job_id = pg_keep(tx->pg, job_id);
    change->attempt = hold->attempt;
    change->text = pg_keep(tx->pg, slice_from_cstr(text)).data;
    return change;
}

/* --- taking ------------------------------------------------------------------------------------- */

struct placing {
    struct arena *arena;
    struct ledger_place *places;
    size_t count;
    struct pg_ref *refs;
    size_t refs_count;
    struct about about;
    struct book book;
};

static void decide_one(struct book *book, struct place *place)
{
    int64_t *leased = pg_alloc(book->arena, book->quotas_count + 1, sizeof(*leased));

    for (size_t i = 0; i < book->quotas_count; i++) {
        leased[i] = book->quotas[i].leased;
        if (mutant_is(MUTANT_PLACE_IGNORES_LEASES))
            book->quotas[i].leased = 0;
    }
    place_decide(book, place);
    for (size_t i = 0; i < book->quotas_count; i++)
        book->quotas[i].leased = leased[i];
}

static void decide(struct placing *placing, struct pg_tx *tx)
{
    for (size_t i = 0; i < placing->count; i++) {
        struct ledger_place *one = &placing->places[i];
        struct place *place = &one->place;

        place->facts = &about_job(&placing->about, place->tenant_id, place->job_id)->facts;
        place->end = PLACE_OPEN;
        one->stale =
            postgres_tenant(tx->pg, place->tenant_id)->info.config_version != one->config_version;
        if (one->stale)
            continue;
        decide_one(&placing->book, place);
        if (place->end == PLACE_TAKEN)
            add_placed(tx, PG_TAKE_PLACED, place->tenant_id, place->job_id, place->hold);
    }
}

static void close_due(struct pg_tx *tx, struct book *book)
{
    for (size_t i = 0; i < book->leases_count; i++) {
        struct lease_row *lease = &book->leases[i];
        struct quota_row *quota = book_find_quota(book, lease->tenant_id, lease->ref);

        if (quota && lease_close(quota, lease, book->now_ms)) {
            pg_add(tx, PG_DROP_LEASE, lease->tenant_id)->lease = *lease;
            lease->dirty = false;
        }
    }
}

static enum status place_body(struct database *db, void *user)
{
    struct placing *placing = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, placing->arena, 0);

    if (status != STATUS_OK)
        return status;
    placing->book = (struct book){.arena = placing->arena};
    status = pg_lock(&tx, db, &placing->book, placing->refs, placing->refs_count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    read_about(&placing->about, tx.pg, placing->arena);
    close_due(&tx, &placing->book);
    decide(placing, &tx);
    pg_write(&tx, &placing->book);
    return pg_commit(&tx);
}

static void show_rows(struct placing *placing, struct ledger_place *place)
{
    const struct hold *wanted = place->place.wanted;

    place->rows = pg_alloc(placing->arena, wanted->quotas_count, sizeof(*place->rows));
    place->old_leases_units =
        pg_alloc(placing->arena, wanted->quotas_count, sizeof(*place->old_leases_units));
    for (size_t i = 0; i < wanted->quotas_count; i++) {
        const struct quota_row *quota =
            book_find_quota(&placing->book, place->place.tenant_id, wanted->quotas[i].quota);

        if (quota)
            place->rows[i] = *quota;
    }
}

enum status sim_place_run(struct database *db, struct arena *arena, struct ledger_place *places,
                          size_t count, int64_t *ret_now_ms)
{
    struct placing placing = {.arena = arena, .places = places, .count = count};
    size_t refs = 0;
    enum status status;

    for (size_t i = 0; i < count; i++)
        refs += places[i].place.wanted->quotas_count;
    placing.refs = pg_alloc(arena, refs, sizeof(*placing.refs));
    placing.about.jobs = pg_alloc(arena, count, sizeof(*placing.about.jobs));
    for (size_t i = 0; i < count; i++) {
        const struct place *place = &places[i].place;

        (void)about_job(&placing.about, place->tenant_id, place->job_id);
        for (size_t k = 0; k < place->wanted->quotas_count; k++)
            placing.refs[placing.refs_count++] =
                (struct pg_ref){place->tenant_id, place->wanted->quotas[k].quota};
    }
    placing.refs_count = pg_refs_sort(placing.refs, placing.refs_count);
    status = pg_make(db, arena, placing.refs, placing.refs_count);
    if (status == STATUS_OK)
        status = pg_transact(db, place_body, &placing);
    for (size_t i = 0; i < count; i++) {
        places[i].locked =
            status == STATUS_CONFLICT && pg_is_locked(db->pg, places[i].place.tenant_id);
        if (status == STATUS_OK)
            show_rows(&placing, &places[i]);
    }
    *ret_now_ms = placing.book.now_ms;
    return status;
}

/* --- those that are there ----------------------------------------------------------------------- */

struct changing {
    struct arena *arena;
    struct about about;
    struct book book;
    struct ledger_move *moves;
    struct ledger_due *dues;
    size_t count;
};

/* CONFLICT: a job has a row whose quotas are not locked. */
static enum status lock_and_read(struct changing *changing, struct database *db, struct pg_tx *tx)
{
    struct about *about = &changing->about;
    struct pg_ref *refs;
    size_t count = 0;
    enum status status;

    read_about(about, tx->pg, changing->arena);
    pg_pause(tx->pg);
    refs = pg_alloc(changing->arena, about->count * HOLD_QUOTAS_MAX, sizeof(*refs));
    for (size_t i = 0; i < about->count; i++) {
        const struct hold *placed = about->jobs[i].facts.placed;

        about->jobs[i].before = placed ? placed->attempt : (struct attempt){0};
        for (size_t k = 0; placed && k < placed->quotas_count; k++)
            refs[count++] = (struct pg_ref){about->jobs[i].tenant_id, placed->quotas[k].quota};
    }
    count = pg_refs_sort(refs, count);
    changing->book = (struct book){.arena = changing->arena};
    status = pg_lock(tx, db, &changing->book, refs, count);
    if (status != STATUS_OK)
        return status;
    read_about(about, tx->pg, changing->arena);
    for (size_t i = 0; i < about->count; i++) {
        const struct hold *placed = about->jobs[i].facts.placed;

        if (placed && attempt_compare(placed->attempt, about->jobs[i].before) != 0)
            return STATUS_CONFLICT;
    }
    return STATUS_OK;
}

static enum status move_body(struct database *db, void *user)
{
    struct changing *changing = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, changing->arena, 0);

    if (status != STATUS_OK)
        return status;
    status = lock_and_read(changing, db, &tx);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < changing->count; i++) {
        struct place_move *move = &changing->moves[i].move;

        move->facts = &about_job(&changing->about, move->tenant_id, move->job_id)->facts;
        place_extend(&changing->book, move);
        if (move->end == PLACE_MOVED)
            add_placed(&tx, PG_MOVE_PLACED, move->tenant_id, move->job_id, move->hold);
    }
    return pg_commit(&tx);
}

enum status sim_move_run(struct database *db, struct arena *arena, struct ledger_move *moves,
                         size_t count, int64_t *ret_now_ms)
{
    struct changing changing = {.arena = arena, .moves = moves, .count = count};
    enum status status;

    changing.about.jobs = pg_alloc(arena, count, sizeof(*changing.about.jobs));
    for (size_t i = 0; i < count; i++)
        (void)about_job(&changing.about, moves[i].move.tenant_id, moves[i].move.job_id);
    status = pg_transact(db, move_body, &changing);
    for (size_t i = 0; i < count; i++)
        moves[i].locked =
            status == STATUS_CONFLICT && pg_is_locked(db->pg, moves[i].move.tenant_id);
    *ret_now_ms = changing.book.now_ms;
    return status;
}

static void keep_expired(struct pg_tx *tx, const struct ledger_due *due, const struct hold *hold)
{
    struct pg_change *change = add_placed(tx, PG_ADD_EXPIRED, due->tenant_id, due->job_id, hold);

    change = pg_add(tx, PG_ADD_EVENT, due->tenant_id);
    change->event = (struct ledger_event){
        .tenant_id = due->tenant_id,
        .kind = EVENT_HOLD_EXPIRED,
        .job_id = pg_keep(tx->pg, due->job_id),
        .attempt = hold->attempt,
    };
}

static enum status reap_body(struct database *db, void *user)
{
    struct changing *changing = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, changing->arena, 0);

    if (status != STATUS_OK)
        return status;
    status = lock_and_read(changing, db, &tx);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < changing->count; i++) {
        struct ledger_due *due = &changing->dues[i];
        struct settle_facts *facts =
            &about_job(&changing->about, due->tenant_id, due->job_id)->facts;
        const struct hold *hold = facts->placed;

        due->reaped = place_reap(&changing->book, due->tenant_id, facts, due->attempt);
        if (!due->reaped)
            continue;
        add_placed(&tx, PG_DROP_PLACED, due->tenant_id, due->job_id, hold);
        if (!facts->record)
            keep_expired(&tx, due, hold);
    }
    pg_write(&tx, &changing->book);
    return pg_commit(&tx);
}

enum status sim_placed_reap(struct database *db, struct arena *arena, struct ledger_due *dues,
                            size_t count)
{
    struct changing changing = {.arena = arena, .dues = dues, .count = count};
    enum status status;

    changing.about.jobs = pg_alloc(arena, count, sizeof(*changing.about.jobs));
    for (size_t i = 0; i < count; i++)
        (void)about_job(&changing.about, dues[i].tenant_id, dues[i].job_id);
    status = pg_transact(db, reap_body, &changing);
    for (size_t i = 0; i < count; i++)
        dues[i].locked = status == STATUS_CONFLICT && pg_is_locked(db->pg, dues[i].tenant_id);
    return status;
}

static bool is_wanted(const struct pg_tenant *tenant, const struct ledger_due_want *want)
{
    bool wanted = false;

    if (want->tenant_id != 0)
        return tenant->info.tenant_id == want->tenant_id;
    for (size_t i = 0; i < want->shards_count; i++)
        wanted |= tenant->shard == want->shards[i];
    for (size_t i = 0; i < want->but_count; i++)
        wanted &= tenant->info.tenant_id != want->but[i];
    return wanted;
}

enum status sim_placed_due(struct database *db, struct arena *arena,
                           const struct ledger_due_want *want, struct ledger_due **ret,
                           size_t *ret_count)
{
    enum status status = pg_ask(db);
    int64_t before_ms = db->pg->now_ms(db->pg->user) - want->late_ms;

    *ret_count = 0;
    *ret = pg_alloc(arena, want->max, sizeof(**ret));
    if (status != STATUS_OK)
        return status;
    for (const struct pg_tenant *tenant = db->pg->tenants; tenant; tenant = tenant->next) {
        if (!is_wanted(tenant, want))
            continue;
        for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
            for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next)
                if (job->placed && job->placed_deadline_ms <= before_ms && *ret_count < want->max)
                    (*ret)[(*ret_count)++] =
                        (struct ledger_due){.tenant_id = tenant->info.tenant_id,
                                            .job_id = job->job_id,
                                            .attempt = job->placed_attempt};
    }
    return STATUS_OK;
}

static int by_deadline(const void *a, const void *b)
{
    const struct ledger_placed *x = a, *y = b;

    if (x->hold->deadline_ms != y->hold->deadline_ms)
        return x->hold->deadline_ms < y->hold->deadline_ms ? -1 : 1;
    return slice_compare(x->job_id, y->job_id);
}

enum status sim_placed_list(struct database *db, struct arena *arena, int64_t tenant_id,
                            int64_t after_deadline_ms, struct slice after_job_id, size_t max,
                            struct ledger_placed **ret, size_t *ret_count)
{
    const struct pg_tenant *tenant = postgres_tenant(db->pg, tenant_id);
    enum status status = pg_ask(db);
    size_t count = 0;

    *ret_count = 0;
    if (status != STATUS_OK)
        return status;
    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next)
            count += job->placed != NULL;
    *ret = pg_alloc(arena, count, sizeof(**ret));
    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next) {
            struct hold *hold;

            if (!job->placed)
                continue;
            CHECK(hold_parse(arena, slice_from_cstr(job->placed), &hold));
            if (hold->deadline_ms < after_deadline_ms ||
                (hold->deadline_ms == after_deadline_ms &&
                 slice_compare(job->job_id, after_job_id) <= 0))
                continue;
            (*ret)[(*ret_count)++] = (struct ledger_placed){job->job_id, hold};
        }
    qsort(*ret, *ret_count, sizeof(**ret), by_deadline);
    *ret_count = *ret_count < max ? *ret_count : max;
    return STATUS_OK;
}

enum status sim_placed_count(struct database *db, int64_t max, int64_t *ret_count)
{
    *ret_count = max;
    return pg_ask(db);
}

/* --- for audits --------------------------------------------------------------------------------- */

int64_t pg_placed_units(const struct pg_tenant *tenant, struct quota_ref ref)
{
    struct arena arena;
    int64_t units = 0;

    arena_init(&arena, 64 * 1024, 64u << 20);
    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next) {
            struct hold *hold;

            if (!job->placed)
                continue;
            CHECK(hold_parse(&arena, slice_from_cstr(job->placed), &hold));
            for (size_t i = 0; i < hold->quotas_count; i++)
                if (quota_ref_equal(hold->quotas[i].quota, ref))
                    units += hold->quotas[i].units;
        }
    arena_done(&arena);
    return units;
}

/* --- for the beat ------------------------------------------------------------------------------- */

static bool has_placed(const struct pg_tenant *tenant)
{
    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next)
            if (job->placed)
                return true;
    return false;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

size_t pg_placed_tenants(const struct postgres *pg, struct arena *arena, int64_t **ret)
{
    size_t count = 0;

    *ret = pg_alloc(arena, (size_t)pg->tenants_count, sizeof(**ret));
    for (const struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next)
        if (has_placed(tenant))
            (*ret)[count++] = tenant->info.tenant_id;
    qsort(*ret, count, sizeof(**ret), by_number);
    return count < LEDGER_PLACED_MAX + 1 ? count : LEDGER_PLACED_MAX + 1;
}
