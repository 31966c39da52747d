#include "ledger/adjust.h"

#include "base/amount.h"
#include "base/fault.h"
#include "ledger/rows.h"

#include <string.h>

/* clang-format off */
/* Waits no longer for a locked row than the others do; nothing is committed on another history. */
static const struct statement begin = {
    "adjust_begin",
    "SELECT " LEDGER_COMPARED_SQL " AND set_config('lock_timeout', '" TEXT_OF(LOCK_WAIT_MS)
    "', true) IS NOT NULL"};

#define CHANGE_COLUMNS                                                                             \
    "c.number, c.id, c.meter, c.delta, c.left_units, c.counted, c.closed, c.at"

/* Added up: a job may have very many, and what they leave in each quota is all that counts. */
static const struct statement find_past = {
    "adjust_find_past",
    "WITH mine AS MATERIALIZED (SELECT * FROM ledger_change WHERE tenant_id = $1::bigint"
    " AND job_id = $2::text), parts AS MATERIALIZED (SELECT m.meter, m.counted[n.at + 1] AS lim,"
    " m.counted[n.at + 2] AS start, sum(m.counted[n.at + 4])::bigint AS amount,"
    " sum(m.counted[n.at + 5])::bigint AS debt FROM mine m CROSS JOIN LATERAL"
    " generate_series(0, cardinality(m.counted) - 1, 5) AS n(at) GROUP BY 1, 2, 3)"
    " SELECT (SELECT max(number) FROM mine), '', c.meter, c.delta, 0::bigint,"
    " coalesce((SELECT array_agg(v.value ORDER BY p.lim, p.start, v.at) FROM parts p CROSS JOIN LATERAL"
    " unnest(ARRAY[p.lim, p.start, 0, p.amount, p.debt]) WITH ORDINALITY AS v(value, at)"
    " WHERE p.meter = c.meter), '{}'), '{}'::bigint[], c.at"
    " FROM (SELECT meter, sum(delta)::bigint AS delta, max(at) AS at FROM mine GROUP BY meter) c ORDER BY 3"};

static const struct statement find_same = {
    "adjust_find_same",
    "SELECT c.job_id, " CHANGE_COLUMNS " FROM ledger_change c WHERE c.tenant_id = $1::bigint"
    " AND c.kind = $3::bigint::smallint AND c.id = $2::text ORDER BY c.number"};

static const struct statement insert = {
    "adjust_insert",
    "INSERT INTO ledger_change (tenant_id, job_id, number, kind, id, hold_epoch, hold_seq, scope, meter,"
    " delta, left_units, counted, closed, reason, at)"
    " VALUES ($1::bigint, $2::text, $3::bigint, $4::bigint::smallint,"
    " $5::text, $6::bigint, $7::bigint, $8::text, $9::text, $10::bigint, $11::bigint, $12::bigint[],"
    " $13::bigint[], $14::text, $15::timestamptz)"};
/* clang-format on */

enum { COUNTED_NUMBERS = 5, CLOSED_NUMBERS = 2 };

struct adjusting {
    struct arena *arena;
    struct ledger_adjusting *how;
    struct rows_ref *refs; /* that the transaction locks */
    size_t refs_count;
    struct book book;
};

/* --- reading ---------------------------------------------------------------------------------- */

static bool can_be(int64_t units)
{
    return units >= -AMOUNT_MAX && units <= AMOUNT_MAX;
}

static void read_counted(struct sql_row *row, struct adjust_row *change)
{
    int64_t *numbers = NULL;
    size_t count = sql_i64s(row, &numbers);

    change->counted_count = count / COUNTED_NUMBERS;
    change->counted = arena_array(row->arena, change->counted_count + 1, sizeof(*change->counted));
    row->bad |= !change->counted || count % COUNTED_NUMBERS != 0;
    for (size_t i = 0; i < change->counted_count && !row->bad; i++) {
        const int64_t *five = numbers + i * COUNTED_NUMBERS;

        change->counted[i] = (struct settle_counted){.ref = {five[0], five[1]},
                                                     .ledger_seq = five[2],
                                                     .amount = five[3],
                                                     .debt = five[4]};
        row->bad |= !can_be(five[3]) || !can_be(five[4]);
    }
}

static void read_closed(struct sql_row *row, struct adjust_row *change)
{
    int64_t *numbers = NULL;
    size_t count = sql_i64s(row, &numbers);

    change->closed_count = count / CLOSED_NUMBERS;
    change->closed = arena_array(row->arena, change->closed_count + 1, sizeof(*change->closed));
    row->bad |= !change->closed || count % CLOSED_NUMBERS != 0;
    for (size_t i = 0; i < change->closed_count && !row->bad; i++)
        change->closed[i] =
            (struct quota_ref){numbers[i * CLOSED_NUMBERS], numbers[i * CLOSED_NUMBERS + 1]};
}

static void read_change(struct sql_row *row, struct adjust_row *change)
{
    *change = (struct adjust_row){.number = sql_i64(row)};
    change->adjust_id = sql_text(row);
    change->meter = sql_text(row);
    change->delta = sql_i64(row);
    change->left = sql_i64(row);
    read_counted(row, change);
    read_closed(row, change);
    change->at_ms = sql_time_ms(row);
    row->bad |= !can_be(change->delta);
}

/* ret_job_id NULL: the statement does not say it. */
static enum status read_changes(struct database *db, struct arena *arena,
                                const struct statement *statement, struct sql_params *params,
                                struct slice *ret_job_id, const struct adjust_row **ret,
                                size_t *ret_count)
{
    struct adjust_row *changes;
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    changes = arena_array(arena, sql_count(&row) + 1, sizeof(*changes));
    row.bad = !changes;
    *ret_count = 0;
    while (sql_next(&row)) {
        if (ret_job_id)
            *ret_job_id = sql_text(&row);
        read_change(&row, &changes[(*ret_count)++]);
    }
    *ret = changes;
    return sql_done(&row);
}

static enum status read_past(struct database *db, struct adjusting *adjusting)
{
    struct adjust_item *item = &adjusting->how->item;
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, adjusting->arena);
    sql_add_i64(&params, item->tenant_id);
    sql_add_text(&params, item->job_id);
    status = read_changes(db, adjusting->arena, &find_past, &params, NULL, &item->past,
                          &item->past_count);
    if (status != STATUS_OK)
        return status;
    item->past_number = item->past_count > 0 ? item->past[0].number : 0;
    sql_params_begin(&params, adjusting->arena);
    sql_add_i64(&params, item->tenant_id);
    sql_add_text(&params, item->adjust_id);
    sql_add_i64(&params, CHANGE_ADJUST);
    return read_changes(db, adjusting->arena, &find_same, &params, &item->same_job_id, &item->same,
                        &item->same_count);
}

static enum status read_record(struct database *db, struct adjusting *adjusting)
{
    struct adjust_item *item = &adjusting->how->item;
    struct rows_job job = {.tenant_id = item->tenant_id, .job_id = item->job_id};
    enum status status = database_begin(db);

    if (status == STATUS_OK)
        status = rows_facts_in(db, adjusting->arena, adjusting->how->plan->ledger_part, &job, 1);
    database_rollback(db);
    item->record = job.facts.record;
    return status;
}

/* --- which quotas ----------------------------------------------------------------------------- */

/* The limits that bind what is added, each in its current period. Too many for one job are for the plan. */
static enum status find_bindings(struct adjusting *adjusting)
{
    struct ledger_adjusting *how = adjusting->how;
    struct adjust_item *item = &how->item;
    struct adjust_binding *bindings =
        arena_array(adjusting->arena, item->changes_count * HOLD_QUOTAS_MAX, sizeof(*bindings));

    item->bindings = bindings;
    item->bindings_count = 0;
    if (!bindings)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; item->record && i < item->changes_count; i++) {
        const struct hold_meter meter = {.meter = item->changes[i].meter};
        struct hold_quota found[HOLD_QUOTAS_MAX];
        size_t count = 0, bad;

        if (item->changes[i].delta < 0 ||
            plan_select(how->plan, item->record->scope, &meter, 1, how->now_ms, found, &count,
                        &bad) != PLAN_SELECTED)
            continue;
        for (size_t k = 0; k < count; k++)
            bindings[item->bindings_count++] = (struct adjust_binding){meter.meter, found[k].quota};
    }
    return STATUS_OK;
}

static enum status find_refs(struct adjusting *adjusting)
{
    struct adjust_item *item = &adjusting->how->item;
    size_t room = adjust_locks_max(item) + 1;
    struct quota_ref *refs = arena_array(adjusting->arena, room, sizeof(*refs));

    adjusting->refs_count = 0;
    adjusting->refs = arena_array(adjusting->arena, room, sizeof(*adjusting->refs));
    if (!refs || !adjusting->refs)
        return STATUS_EXHAUSTED;
    if (room <= ADJUST_QUOTAS_MAX + 1) /* else it is refused */
        adjusting->refs_count = adjust_locks(item, refs);
    for (size_t i = 0; i < adjusting->refs_count; i++)
        adjusting->refs[i] = (struct rows_ref){item->tenant_id, refs[i]};
    adjusting->refs_count = rows_refs_sort(adjusting->refs, adjusting->refs_count);
    return STATUS_OK;
}

static enum status make_current(struct database *db, struct adjusting *adjusting)
{
    const struct adjust_item *item = &adjusting->how->item;
    struct rows_ref *refs = arena_array(adjusting->arena, item->bindings_count + 1, sizeof(*refs));

    if (!refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < item->bindings_count; i++)
        refs[i] = (struct rows_ref){item->tenant_id, item->bindings[i].ref};
    return rows_make(db, adjusting->arena, refs, rows_refs_sort(refs, item->bindings_count), NULL);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_numbers(struct sql_params *params, const struct adjust_row *row)
{
    struct sql_array array =
        sql_array_begin(params, SQL_BIGINT, row->counted_count * COUNTED_NUMBERS, 0);

    for (size_t i = 0; i < row->counted_count; i++) {
        sql_array_i64(&array, row->counted[i].ref.limit_id);
        sql_array_i64(&array, row->counted[i].ref.period_start_ms);
        sql_array_i64(&array, row->counted[i].ledger_seq);
        sql_array_i64(&array, row->counted[i].amount);
        sql_array_i64(&array, row->counted[i].debt);
    }
    array = sql_array_begin(params, SQL_BIGINT, row->closed_count * CLOSED_NUMBERS, 0);
    for (size_t i = 0; i < row->closed_count; i++) {
        sql_array_i64(&array, row->closed[i].limit_id);
        sql_array_i64(&array, row->closed[i].period_start_ms);
    }
}

static enum status write_change(struct database *db, struct adjusting *adjusting,
                                const struct adjust_row *row)
{
    const struct adjust_item *item = &adjusting->how->item;
    struct sql_params params;

    sql_params_begin(&params, adjusting->arena);
    sql_add_i64(&params, item->tenant_id);
    sql_add_text(&params, item->job_id);
    sql_add_i64(&params, row->number);
    sql_add_i64(&params, CHANGE_ADJUST);
    sql_add_text(&params, item->adjust_id);
    sql_add_i64(&params, item->record->attempt.epoch);
    sql_add_i64(&params, item->record->attempt.seq);
    sql_add_text(&params, item->record->scope);
    sql_add_text(&params, row->meter);
    sql_add_i64(&params, row->delta);
    sql_add_i64(&params, row->left);
    add_numbers(&params, row);
    sql_add_text(&params, adjusting->how->reason);
    sql_add_time_ms(&params, row->at_ms);
    return database_run(db, &insert, &params, NULL);
}

static enum status write_all(struct database *db, struct adjusting *adjusting)
{
    const struct adjust_item *item = &adjusting->how->item;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < item->changes_count && status == STATUS_OK; i++)
        status = write_change(db, adjusting, &item->rows[i]);
    /* Another server was faster with this id, or with this number of the job. */
    if (status == STATUS_INVALID && strcmp(database_sqlstate(db), "23505") == 0)
        return STATUS_CONFLICT;
    if (status == STATUS_OK)
        status = rows_write(db, &adjusting->book);
    if (status == STATUS_OK && FAULT("adjust.before_commit"))
        return STATUS_UNAVAILABLE;
    return status;
}

/* --- the transaction -------------------------------------------------------------------------- */

static enum status check_database(struct database *db, struct arena *arena)
{
    bool compared = false;
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &begin, NULL, &result);

    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, arena); sql_next(&row);)
        compared = sql_bool(&row);
    status = sql_done(&row);
    return status == STATUS_OK && !compared ? STATUS_UNAVAILABLE : status;
}

/* What was changed of the job while the locks were waited for may count elsewhere. */
static bool is_locked(const struct adjusting *adjusting, struct quota_ref ref)
{
    for (size_t i = 0; i < adjusting->refs_count; i++)
        if (quota_ref_equal(adjusting->refs[i].ref, ref))
            return true;
    return false;
}

static bool has_all(const struct adjusting *adjusting)
{
    const struct adjust_item *item = &adjusting->how->item;
    size_t room = adjust_locks_max(item) + 1;
    struct quota_ref *refs = arena_array(adjusting->arena, room, sizeof(*refs));
    size_t count = refs && room <= ADJUST_QUOTAS_MAX + 1 ? adjust_locks(item, refs) : 0;

    for (size_t i = 0; i < count; i++)
        if (!is_locked(adjusting, refs[i]))
            return false;
    return refs;
}

static enum status lock(struct database *db, struct adjusting *adjusting)
{
    enum status status = read_past(db, adjusting);

    if (status == STATUS_OK)
        status = find_refs(adjusting);
    adjusting->book = (struct book){.arena = adjusting->arena};
    if (status == STATUS_OK)
        status = rows_lock_tenant(db, &adjusting->book, adjusting->refs, adjusting->refs_count);
    if (status == STATUS_OK) /* as it is now that nobody else can change it */
        status = read_past(db, adjusting);
    return status == STATUS_OK && !has_all(adjusting) ? STATUS_CONFLICT : status;
}

static enum status body(struct database *db, void *user)
{
    struct adjusting *adjusting = user;
    struct adjust_item *item = &adjusting->how->item;
    enum status status = check_database(db, adjusting->arena);

    item->outcome = ADJUST_UNDECIDED;
    if (status == STATUS_OK)
        status = lock(db, adjusting);
    if (status != STATUS_OK)
        return status;
    adjust_decide(&adjusting->book, item);
    return item->outcome == ADJUST_MADE ? write_all(db, adjusting) : STATUS_CANCELLED;
}

enum status ledger_adjust(struct database *db, struct arena *arena,
                          struct ledger_adjusting *adjusting)
{
    struct adjusting own = {.arena = arena, .how = adjusting};
    enum status status = read_record(db, &own);

    if (status == STATUS_OK)
        status = find_bindings(&own);
    if (status == STATUS_OK)
        status = make_current(db, &own);
    if (status != STATUS_OK) /* nothing was changed yet */
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    status = database_transact(db, body, &own);
    if (status == STATUS_CANCELLED && adjusting->item.outcome != ADJUST_UNDECIDED &&
        adjusting->item.outcome != ADJUST_MADE)
        status = STATUS_OK;
    adjusting->quotas = own.book.quotas;
    adjusting->quotas_count = own.book.quotas_count;
    for (size_t i = 0; i < adjusting->quotas_count && status == STATUS_OK; i++)
        adjusting->quotas[i].shard = adjusting->plan->shard;
    return status;
}
