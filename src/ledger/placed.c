/*
 * Holds in Postgres that are there: later deadlines, their end by time, lists.
 *
 * Whoever moves or ends one has the locks of all its quotas. Which these are its row says, so it is read
 * before the locks and again under them; a job that has another attempt by then is run again.
 */
#include "ledger/expired.h"
#include "ledger/ledger.h"
#include "ledger/locked.h"
#include "ledger/rows.h"

/* Jobs whose rows of pg_hold are to be changed. */
struct changing {
    struct arena *arena;
    struct rows_job *jobs; /* sorted */
    size_t jobs_count;
    struct attempt *before; /* of each, as read before the locks; {0, 0}: it had no row */
    struct rows_ref *refs;
    size_t refs_count;
    struct book book;
    struct rows_placed *changed;
    size_t changed_count;
    struct ledger_move *moves;
    struct ledger_due *dues;
    size_t count; /* of moves or dues */
};

static enum status find_placed(struct database *db, struct changing *changing)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    for (size_t i = 0; i < changing->jobs_count; i++)
        changing->jobs[i].facts = (struct settle_facts){0};
    sql_params_begin(&params, changing->arena);
    rows_jobs_params(&params, changing->jobs, changing->jobs_count);
    status = database_run(db, &rows_placed_find, &params, &result);
    return status == STATUS_OK ? rows_placed_find_read(result, changing->arena, changing->jobs,
                                                       changing->jobs_count)
                               : status;
}

/* The quotas of the rows that there are, and which attempts these are. */
static bool list_refs(struct changing *changing)
{
    size_t refs = 0;

    for (size_t i = 0; i < changing->jobs_count; i++)
        if (changing->jobs[i].facts.placed)
            refs += changing->jobs[i].facts.placed->quotas_count;
    changing->refs = arena_array(changing->arena, refs + 1, sizeof(*changing->refs));
    if (!changing->refs)
        return false;
    changing->refs_count = 0;
    for (size_t i = 0; i < changing->jobs_count; i++) {
        const struct rows_job *job = &changing->jobs[i];
        const struct hold *placed = job->facts.placed;

        changing->before[i] = placed ? placed->attempt : (struct attempt){0};
        for (size_t k = 0; placed && k < placed->quotas_count; k++)
            changing->refs[changing->refs_count++] =
                (struct rows_ref){job->tenant_id, placed->quotas[k].quota};
    }
    changing->refs_count = rows_refs_sort(changing->refs, changing->refs_count);
    return true;
}

/* CONFLICT: a job has a row whose quotas are not locked. */
static enum status lock_and_read(struct database *db, struct changing *changing)
{
    enum status status = find_placed(db, changing);

    if (status == STATUS_OK && !list_refs(changing))
        status = STATUS_EXHAUSTED;
    changing->book = (struct book){.arena = changing->arena};
    if (status == STATUS_OK)
        status = rows_lock(db, &changing->book, changing->refs, changing->refs_count);
    if (status == STATUS_OK)
        status = rows_facts(db, changing->arena, changing->jobs, changing->jobs_count);
    for (size_t i = 0; status == STATUS_OK && i < changing->jobs_count; i++) {
        const struct hold *placed = changing->jobs[i].facts.placed;

        if (placed && attempt_compare(placed->attempt, changing->before[i]) != 0)
            status = STATUS_CONFLICT;
    }
    changing->changed_count = 0;
    return status;
}

static enum status write_changed(struct database *db, struct changing *changing,
                                 const struct statement *statement, bool whole)
{
    struct sql_params params;

    if (changing->changed_count == 0)
        return STATUS_OK;
    sql_params_begin(&params, changing->arena);
    if (whole)
        rows_placed_params(&params, changing->changed, changing->changed_count);
    else
        rows_placed_names(&params, changing->changed, changing->changed_count);
    return database_run(db, statement, &params, NULL);
}

static void add_changed(struct changing *changing, int64_t tenant_id, struct slice job_id,
                        const struct hold *hold)
{
    changing->changed[changing->changed_count++] = (struct rows_placed){tenant_id, job_id, hold};
}

static struct rows_job *job_of(struct changing *changing, int64_t tenant_id, struct slice job_id)
{
    return rows_jobs_find(changing->jobs, changing->jobs_count, tenant_id, job_id);
}

/* For count jobs, which the caller fills in. */
static bool make_room(struct changing *changing)
{
    size_t count = changing->count;

    changing->jobs = arena_array(changing->arena, count, sizeof(*changing->jobs));
    changing->before = arena_array(changing->arena, count, sizeof(*changing->before));
    changing->changed = arena_array(changing->arena, count, sizeof(*changing->changed));
    return changing->jobs && changing->before && changing->changed;
}

/* --- later deadlines ------------------------------------------------------------------------------ */

/* A job that comes twice is written once, as the last one left it. */
static enum status move_body(struct database *db, void *user)
{
    struct changing *changing = user;
    enum status status = lock_and_read(db, changing);

    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < changing->count; i++) {
        struct place_move *move = &changing->moves[i].move;

        move->facts = &job_of(changing, move->tenant_id, move->job_id)->facts;
        place_extend(&changing->book, move);
    }
    for (size_t i = 0; i < changing->jobs_count; i++) {
        const struct rows_job *job = &changing->jobs[i];

        if (job->facts.placed && job->facts.placed->deadline_ms > changing->book.now_ms)
            add_changed(changing, job->tenant_id, job->job_id, job->facts.placed);
    }
    return write_changed(db, changing, &rows_placed_update, true);
}

enum status ledger_move_run(struct database *db, struct arena *arena, struct ledger_move *moves,
                            size_t count, int64_t *ret_now_ms)
{
    struct changing changing = {.arena = arena, .moves = moves, .count = count};
    enum status status;

    CHECK(count > 0);
    if (!make_room(&changing))
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++) {
        moves[i].locked = false;
        changing.jobs[i] =
            (struct rows_job){.tenant_id = moves[i].move.tenant_id, .job_id = moves[i].move.job_id};
    }
    changing.jobs_count = rows_jobs_sort(changing.jobs, count);
    status = database_transact(db, move_body, &changing);
    if (status == STATUS_CONFLICT) {
        const struct rows_locked locked =
            rows_locked_find(db, arena, changing.refs, changing.refs_count);

        for (size_t i = 0; i < count; i++)
            moves[i].locked = rows_locked_has(&locked, moves[i].move.tenant_id);
    }
    *ret_now_ms = changing.book.now_ms;
    return status;
}

/* --- the end by time ------------------------------------------------------------------------------ */

/* What is kept of it; a job that is on the record has no need of that. */
static bool keep(struct changing *changing, const struct rows_job *job, const struct hold *hold,
                 struct ledger_reap_job *kept)
{
    const char *text = hold_text(changing->arena, hold);

    *kept = (struct ledger_reap_job){.tenant_id = job->tenant_id,
                                     .job_id = job->job_id,
                                     .hold = hold,
                                     .text = slice_from_cstr(text ? text : "")};
    return text != NULL;
}

static enum status reap_body(struct database *db, void *user)
{
    struct changing *changing = user;
    struct ledger_reap_job *kept = arena_array(changing->arena, changing->count, sizeof(*kept));
    struct ledger_reap_job **list =
        arena_array(changing->arena, changing->count, sizeof(struct ledger_reap_job *));
    enum status status = kept && list ? lock_and_read(db, changing) : STATUS_EXHAUSTED;
    size_t kept_count = 0;

    for (size_t i = 0; status == STATUS_OK && i < changing->count; i++) {
        struct ledger_due *due = &changing->dues[i];
        struct rows_job *job = job_of(changing, due->tenant_id, due->job_id);
        const struct hold *hold = job->facts.placed;

        due->reaped = place_reap(&changing->book, due->tenant_id, &job->facts, due->attempt);
        if (!due->reaped)
            continue;
        add_changed(changing, due->tenant_id, due->job_id, hold);
        if (job->facts.record)
            continue;
        if (!keep(changing, job, hold, &kept[kept_count]))
            return STATUS_EXHAUSTED;
        list[kept_count] = &kept[kept_count];
        kept_count++;
    }
    if (status == STATUS_OK)
        status = write_changed(db, changing, &rows_placed_delete, false);
    if (status == STATUS_OK)
        status = rows_write(db, &changing->book);
    return status == STATUS_OK
               ? reap_write_expired(db, changing->arena, changing->book.now_ms, list, kept_count)
               : status;
}

enum status ledger_placed_reap(struct database *db, struct arena *arena, struct ledger_due *dues,
                               size_t count)
{
    struct changing changing = {.arena = arena, .dues = dues, .count = count};
    enum status status;

    CHECK(count > 0);
    if (!make_room(&changing))
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++) {
        dues[i].locked = dues[i].reaped = false;
        changing.jobs[i] =
            (struct rows_job){.tenant_id = dues[i].tenant_id, .job_id = dues[i].job_id};
    }
    changing.jobs_count = rows_jobs_sort(changing.jobs, count);
    status = database_transact(db, reap_body, &changing);
    if (status == STATUS_CONFLICT) {
        const struct rows_locked locked =
            rows_locked_find(db, arena, changing.refs, changing.refs_count);

        for (size_t i = 0; i < count; i++)
            dues[i].locked = rows_locked_has(&locked, dues[i].tenant_id);
    }
    return status;
}

/* --- lists ---------------------------------------------------------------------------------------- */

/* clang-format off */
/*
 * Due ones are few: whoever has the shard reaps them several times a second. Without tenants that are left
 * out or set aside: while nobody can reap their rows these are the oldest ones, and would keep others out.
 */
static const struct statement find_due = {
    "placed_due",
    "SELECT p.tenant_id, p.job_id, p.epoch, p.hold_seq FROM (SELECT * FROM pg_hold"
    " WHERE deadline_ms <= " SQL_MS_OF("clock_timestamp()") " - $3::bigint"
    " AND tenant_id <> ALL ($4::bigint[]) AND tenant_id <> ALL ($5::bigint[])"
    " ORDER BY deadline_ms OFFSET 0) AS p"
    ROWS_OF(tenant, "tenant_id = p.tenant_id") " AS t"
    " WHERE t.shard = ANY($1::bigint[]) ORDER BY p.deadline_ms LIMIT $2::bigint"};

/* Whatever others have that is due. */
static const struct statement find_due_of_tenant = {
    "placed_due_of_tenant",
    "SELECT tenant_id, job_id, epoch, hold_seq FROM pg_hold WHERE tenant_id = $1::bigint"
    " AND deadline_ms <= " SQL_MS_OF("clock_timestamp()") " - $3::bigint"
    " ORDER BY deadline_ms, job_id LIMIT $2::bigint"};
/* clang-format on */

static void add_want(struct sql_params *params, struct database *db,
                     const struct ledger_due_want *want)
{
    struct alarms_state alarms;
    struct sql_array array;

    if (want->tenant_id != 0) {
        sql_add_i64(params, want->tenant_id);
    } else {
        array = sql_array_begin(params, SQL_BIGINT, want->shards_count, 0);
        for (size_t i = 0; i < want->shards_count; i++)
            sql_array_i64(&array, want->shards[i]);
    }
    sql_add_i64(params, (int64_t)want->max);
    sql_add_i64(params, want->late_ms);
    if (want->tenant_id != 0)
        return;
    alarms_read(database_alarms(db), &alarms);
    sql_add_i64s(params, alarms.aside, alarms.aside_count);
    sql_add_i64s(params, want->but, want->but_count);
}

enum status ledger_placed_due(struct database *db, struct arena *arena,
                              const struct ledger_due_want *want, struct ledger_due **ret,
                              size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_count = 0;
    sql_params_begin(&params, arena);
    add_want(&params, db, want);
    status =
        database_run(db, want->tenant_id != 0 ? &find_due_of_tenant : &find_due, &params, &result);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad |= !*ret;
    while (sql_next(&row)) {
        struct ledger_due *due = &(*ret)[(*ret_count)++];

        due->tenant_id = sql_i64(&row);
        due->job_id = sql_text(&row);
        due->attempt.epoch = sql_i64(&row);
        due->attempt.seq = sql_i64(&row);
    }
    return sql_done(&row);
}

static const struct statement count_placed = {
    "placed_count", "SELECT count(*) FROM (SELECT FROM pg_hold LIMIT $1::bigint) AS p"};

enum status ledger_placed_count(struct database *db, int64_t max, int64_t *ret_count)
{
    struct sql_params params;
    struct arena arena;
    struct sql_row row;
    PGresult *result;
    enum status status;

    arena_init(&arena, 1024, 64 * 1024);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, max);
    status = database_run(db, &count_placed, &params, &result);
    if (status == STATUS_OK) {
        row = sql_rows(result, &arena);
        while (sql_next(&row))
            *ret_count = sql_i64(&row);
        status = sql_done(&row);
    }
    arena_done(&arena);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}

static const struct statement find_page = {
    "placed_list",
    "SELECT deadline_ms, job_id, hold FROM pg_hold WHERE tenant_id = $1::bigint"
    " AND (deadline_ms, job_id) > ($2::bigint, $3::text) ORDER BY deadline_ms, job_id"
    " LIMIT $4::bigint"};

/* The next rows, at most `room`. *ret_full: there may be more behind them. */
static enum status list_some(struct database *db, struct arena *arena, int64_t tenant_id,
                             int64_t *after_deadline_ms, struct slice *after_job_id, size_t room,
                             struct ledger_placed *ret, size_t *ret_count, bool *ret_full)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_count = 0;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    sql_add_i64(&params, *after_deadline_ms);
    sql_add_text(&params, *after_job_id);
    sql_add_i64(&params, (int64_t)room);
    status = database_run(db, &find_page, &params, &result);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    row = sql_rows(result, arena);
    *ret_full = sql_count(&row) == room;
    while (sql_next(&row)) {
        struct hold *hold;

        *after_deadline_ms = sql_i64(&row);
        *after_job_id = sql_text(&row);
        if (hold_parse(arena, sql_text(&row), &hold))
            ret[(*ret_count)++] = (struct ledger_placed){*after_job_id, hold};
    }
    return sql_done(&row);
}

enum status ledger_placed_list(struct database *db, struct arena *arena, int64_t tenant_id,
                               int64_t after_deadline_ms, struct slice after_job_id, size_t max,
                               struct ledger_placed **ret, size_t *ret_count)
{
    enum status status = STATUS_OK;
    bool full = true;

    *ret_count = 0;
    *ret = arena_array(arena, max + 1, sizeof(**ret));
    if (!*ret)
        return STATUS_EXHAUSTED;
    /* A page that is not full is the last one, so those that are left out are made up for. */
    while (status == STATUS_OK && full && *ret_count < max) {
        size_t some;

        status = list_some(db, arena, tenant_id, &after_deadline_ms, &after_job_id,
                           max - *ret_count, *ret + *ret_count, &some, &full);
        *ret_count += some;
    }
    return status;
}
