/*
 * Writing back what has changed: quota rows and old leases that are dirty, ledger entries, fences,
 * events. One statement per table however many rows there are.
 */
#include "ledger/rows.h"

#include "base/log.h"
#include "quota/threshold.h"

#include <inttypes.h>

/* NOLINTBEGIN(bugprone-macro-parentheses): i is the name of the variable that the macro declares. */

/* Appends one bigint[] with a value for each of `count` elements of a list of pointers or structs. */
#define ADD_I64S(params, count, i, expression)                                                     \
    do {                                                                                           \
        struct sql_array array_ = sql_array_begin(params, SQL_BIGINT, count, 0);                   \
        for (size_t i = 0; i < (count); i++)                                                       \
            sql_array_i64(&array_, (expression));                                                  \
    } while (0)

#define ADD_TEXTS(params, count, i, expression)                                                    \
    do {                                                                                           \
        struct sql_array array_;                                                                   \
        size_t bytes_ = 0;                                                                         \
        for (size_t i = 0; i < (count); i++)                                                       \
            bytes_ += (expression).len;                                                            \
        array_ = sql_array_begin(params, SQL_TEXT, count, bytes_);                                 \
        for (size_t i = 0; i < (count); i++)                                                       \
            sql_array_text(&array_, (expression));                                                 \
    } while (0)
/* NOLINTEND(bugprone-macro-parentheses) */

/* --- quota rows ------------------------------------------------------------------------------- */

/* clang-format off */
/*
 * The numbers of a quota row that change: of(parameter, column, more). A column and the member of struct
 * quota_row have one name.
 */
#define QUOTA_NUMBERS(of, more)                                                                    \
    of(4, committed, more) of(5, debt, more) of(6, pg_held, more) of(7, leased, more)              \
    of(8, lease_id, more) of(9, granted, more) of(10, returned, more) of(11, spent, more)          \
    of(12, lease_deadline_ms, more) of(13, lease_target, more) of(14, reaped_to_ms, more)          \
    of(15, ledger_seq, more) of(16, level, more)
#define NUMBER_IS(number, name, alias) ", " #name " = " #alias "." #name
#define NUMBER_OF(number, name, rows) ", " rows(number, bigint, name)
#define QUOTA_UPDATE(rows, find)                                                                   \
    "UPDATE quota q SET recall = n.recall, state = n.state::\"char\"" QUOTA_NUMBERS(NUMBER_IS, n)  \
    " FROM (SELECT " rows(1, bigint, tenant) ", " rows(2, bigint, lim) ", " rows(3, bigint, start) \
    QUOTA_NUMBERS(NUMBER_OF, rows) ", " rows(17, boolean, recall) ", " rows(18, text, state)       \
    ") AS n" find

const struct statement rows_quota_update[] = {
    [SQL_FORM_ROW] =
        {"rows_quota_update_row",
         QUOTA_UPDATE(SQL_ROW, " WHERE q.tenant_id = n.tenant AND q.limit_id = n.lim"
                               " AND q.period_start_ms = n.start")},
    [SQL_FORM_ROWS] =
        {"rows_quota_update_rows",
         QUOTA_UPDATE(SQL_ROWS, ROWS_PLACE(quota, ROWS_KEY_QUOTA) " WHERE q.ctid = k.place")},
};
/* clang-format on */

static void add_quotas(struct sql_params *params, const struct quota_row *const *quotas,
                       size_t count)
{
    struct sql_array column;

#define ADD(expression)                                                                            \
    do {                                                                                           \
        column = sql_column_begin(params, SQL_BIGINT, count, 0);                                   \
        for (size_t i = 0; i < count; i++)                                                         \
            sql_array_i64(&column, (expression));                                                  \
    } while (0)
#define ADD_NUMBER(number, name, unused) ADD(quotas[i]->name);
    ADD(quotas[i]->tenant_id);
    ADD(quotas[i]->ref.limit_id);
    ADD(quotas[i]->ref.period_start_ms);
    QUOTA_NUMBERS(ADD_NUMBER, )
#undef ADD_NUMBER
#undef ADD
    column = sql_column_begin(params, SQL_BOOLEAN, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_bool(&column, quotas[i]->recall);
    column = sql_column_begin(params, SQL_TEXT, count, count);
    for (size_t i = 0; i < count; i++) {
        char state = (char)quotas[i]->state;

        sql_array_text(&column, slice_of(&state, 1));
    }
}

void rows_quota_update_params(struct sql_params *params, const struct book *book, size_t *ret_count)
{
    const struct quota_row **dirty =
        arena_array(book->arena, book->quotas_count + 1, sizeof(*dirty));
    size_t count = 0;

    *ret_count = 0;
    if (!dirty) {
        params->bad = true;
        return;
    }
    for (size_t i = 0; i < book->quotas_count; i++)
        if (book->quotas[i].dirty)
            dirty[count++] = &book->quotas[i];
    *ret_count = count;
    add_quotas(params, dirty, count);
}

/* clang-format off */
const struct statement rows_lease_update = {
    "rows_lease_update",
    "UPDATE old_lease q SET returned = n.returned, spent = n.spent, deadline_ms = n.deadline FROM (SELECT "
    SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, lim) ", " SQL_ROWS(3, bigint, start) ", "
    SQL_ROWS(4, bigint, lease) ", " SQL_ROWS(5, bigint, returned) ", " SQL_ROWS(6, bigint, spent) ", "
    SQL_ROWS(7, bigint, deadline)
    ") AS n" ROWS_PLACE(old_lease, ROWS_KEY_LEASE) " WHERE q.ctid = k.place"};
/* clang-format on */

static void lease_keys(struct sql_params *params, const struct lease_row *const *leases,
                       size_t count)
{
    ADD_I64S(params, count, i, leases[i]->tenant_id);
    ADD_I64S(params, count, i, leases[i]->ref.limit_id);
    ADD_I64S(params, count, i, leases[i]->ref.period_start_ms);
    ADD_I64S(params, count, i, leases[i]->lease_id);
}

void rows_lease_update_params(struct sql_params *params, const struct book *book, size_t *ret_count)
{
    const struct lease_row **dirty =
        arena_array(book->arena, book->leases_count + 1, sizeof(*dirty));
    size_t count = 0;

    *ret_count = 0;
    if (!dirty) {
        params->bad = true;
        return;
    }
    for (size_t i = 0; i < book->leases_count; i++)
        if (book->leases[i].dirty)
            dirty[count++] = &book->leases[i];
    *ret_count = count;
    lease_keys(params, dirty, count);
    ADD_I64S(params, count, i, dirty[i]->returned);
    ADD_I64S(params, count, i, dirty[i]->spent);
    ADD_I64S(params, count, i, dirty[i]->deadline_ms);
}

/* clang-format off */
static const struct statement lease_insert = {
    "rows_lease_insert",
    "INSERT INTO old_lease (tenant_id, limit_id, period_start_ms, lease_id, granted, returned,"
    " spent, deadline_ms) SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, lim) ", "
    SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, lease) ", " SQL_ROWS(5, bigint, granted) ", "
    SQL_ROWS(6, bigint, returned) ", " SQL_ROWS(7, bigint, spent) ", " SQL_ROWS(8, bigint, deadline)};

static const struct statement lease_delete = {
    "rows_lease_delete",
    "DELETE FROM old_lease q USING (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, lim) ", "
    SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, lease) ") AS n"
    ROWS_PLACE(old_lease, ROWS_KEY_LEASE) " WHERE q.ctid = k.place"};
/* clang-format on */

enum status rows_leases_insert(struct database *db, struct arena *arena,
                               const struct lease_row *leases, size_t count)
{
    struct sql_params params;

    if (count == 0)
        return STATUS_OK;
    sql_params_begin(&params, arena);
    ADD_I64S(&params, count, i, leases[i].tenant_id);
    ADD_I64S(&params, count, i, leases[i].ref.limit_id);
    ADD_I64S(&params, count, i, leases[i].ref.period_start_ms);
    ADD_I64S(&params, count, i, leases[i].lease_id);
    ADD_I64S(&params, count, i, leases[i].granted);
    ADD_I64S(&params, count, i, leases[i].returned);
    ADD_I64S(&params, count, i, leases[i].spent);
    ADD_I64S(&params, count, i, leases[i].deadline_ms);
    return database_run(db, &lease_insert, &params, NULL);
}

enum status rows_leases_delete(struct database *db, struct arena *arena,
                               const struct lease_row *leases, size_t count)
{
    struct sql_params params;

    if (count == 0)
        return STATUS_OK;
    sql_params_begin(&params, arena);
    ADD_I64S(&params, count, i, leases[i].tenant_id);
    ADD_I64S(&params, count, i, leases[i].ref.limit_id);
    ADD_I64S(&params, count, i, leases[i].ref.period_start_ms);
    ADD_I64S(&params, count, i, leases[i].lease_id);
    return database_run(db, &lease_delete, &params, NULL);
}

/* --- events ----------------------------------------------------------------------------------- */

/* clang-format off */
const struct statement rows_event_lock = {"rows_event_lock",
                                          "SELECT t.tenant_id FROM unnest($1::bigint[]) AS n(tenant)"
                                          ROWS_OF(tenant, ROWS_KEY_TENANT) " AS t ORDER BY 1"
                                          " FOR NO KEY UPDATE OF t"};
/* clang-format on */

/* clang-format off */
const struct statement rows_event_insert = {
    "rows_event_insert",
    "WITH n AS MATERIALIZED (SELECT " SQL_ROWS(2, bigint, tenant_id) ", " SQL_ROWS(3, bigint, nth) ", "
    SQL_ROWS(4, bigint, kind) ", " SQL_ROWS(5, bigint, direction) ", " SQL_ROWS(6, bigint, basis) ", "
    SQL_ROWS(7, bigint, limit_id) ", " SQL_ROWS(8, bigint, start) ", " SQL_ROWS(9, bigint, ends) ", "
    SQL_ROWS(10, bigint, amount) ", " SQL_ROWS(11, bigint, soft) ", " SQL_ROWS(12, bigint, cap) ", "
    SQL_ROWS(13, boolean, unlimited) ", " SQL_ROWS(14, bigint, committed) ", " SQL_ROWS(15, bigint, debt) ", "
    SQL_ROWS(16, bigint, ledger_seq) ", " SQL_ROWS(17, bigint, level) ", " SQL_ROWS(18, text, job_id) ", "
    SQL_ROWS(19, bigint, epoch) ", " SQL_ROWS(20, bigint, hold_seq) ", "
    SQL_ROWS(21, bigint, recovered_from) ", " SQL_ROWS(22, bigint, held) "),"
    " " ROWS_NUMBERED("n") ","
    " done AS (INSERT INTO event (at, tenant_id, seq, kind, direction, basis, limit_id, period_start_ms,"
    " period_end_ms, limit_amount, soft_amount, cap_amount, unlimited, committed, debt, ledger_seq,"
    " level, job_id, epoch, hold_seq, recovered_from, held) SELECT $1::timestamptz, n.tenant_id,"
    " b.before + n.nth, n.kind, n.direction, n.basis, n.limit_id, n.start, n.ends, n.amount, n.soft,"
    " n.cap, n.unlimited, n.committed, n.debt, n.ledger_seq, n.level, n.job_id, n.epoch, n.hold_seq,"
    " n.recovered_from, n.held"
    " FROM n JOIN numbered b USING (tenant_id)) " ROWS_WENT_BACK};
/* clang-format on */

void rows_event_told(PGresult *result)
{
    struct arena arena;
    struct sql_row row;

    arena_init(&arena, 1024, 65536);
    row = sql_rows(result, &arena);
    while (sql_next(&row)) {
        int64_t tenant = sql_i64(&row), was = sql_i64(&row), newest = sql_i64(&row);

        log_error("ledger",
                  "root.went_back tenant=%" PRId64 " event_seq=%" PRId64 " newest=%" PRId64
                  ": the database has lost a row of tenant; events go on after the newest",
                  tenant, was, newest);
    }
    if (sql_done(&row) != STATUS_OK) /* what was written stands all the same */
        log_error("ledger", "root.went_back tenant=unknown: the database has lost a row of tenant");
    arena_done(&arena);
}

size_t rows_event_tenants(const struct book *book, int64_t *tenants, size_t tenants_max)
{
    size_t count = 0;

    for (const struct event_row *event = book->events; event; event = event->next) {
        bool known = false;

        for (size_t i = 0; i < count && !known; i++)
            known = tenants[i] == event->tenant_id;
        if (known)
            continue;
        CHECK(count < tenants_max);
        tenants[count++] = event->tenant_id;
    }
    return count;
}

void rows_event_lock_params(struct sql_params *params, const int64_t *tenants, size_t count)
{
    sql_add_i64s(params, tenants, count);
}

/* Position of each event among those of its tenant, from 1. */
static void number_events(struct event_row *const *events, size_t count, int64_t *numbers)
{
    for (size_t i = 0; i < count; i++) {
        numbers[i] = 1;
        for (size_t before = i; before-- > 0;) {
            if (events[before]->tenant_id == events[i]->tenant_id) {
                numbers[i] = numbers[before] + 1;
                break;
            }
        }
    }
}

static bool is_crossing(enum event_kind kind)
{
    return kind == EVENT_SOFT_STOP || kind == EVENT_HARD_STOP || kind == EVENT_HARD_CAP;
}

/* A bigint[] with nulls for the events that are of no quota. */
#define ADD_OF_QUOTAS(params, count, i, expression)                                                \
    do {                                                                                           \
        struct sql_array array_ = sql_array_begin(params, SQL_BIGINT, count, 0);                   \
        /* NOLINTNEXTLINE(bugprone-macro-parentheses): as above */                                 \
        for (size_t i = 0; i < (count); i++) {                                                     \
            if (events[i]->quota)                                                                  \
                sql_array_i64(&array_, (expression));                                              \
            else                                                                                   \
                sql_array_null(&array_);                                                           \
        }                                                                                          \
    } while (0)

static const struct stops *stops_of(const struct event_row *event)
{
    return event->reserved ? &event->stops : &event->quota->stops;
}

/* As in holdfast.v1.Basis. */
static int basis_of(const struct event_row *event)
{
    return !is_crossing(event->kind) ? 0 : event->reserved ? 2 : 1;
}

static void event_quotas_params(struct sql_params *params, struct event_row *const *events,
                                size_t count)
{
    struct sql_array array;

    ADD_OF_QUOTAS(params, count, i, events[i]->quota->ref.limit_id);
    ADD_OF_QUOTAS(params, count, i, events[i]->quota->ref.period_start_ms);
    ADD_OF_QUOTAS(params, count, i, events[i]->quota->period_end_ms);
    ADD_OF_QUOTAS(params, count, i, stops_of(events[i])->amount);
    ADD_OF_QUOTAS(params, count, i, stops_of(events[i])->soft);
    ADD_OF_QUOTAS(params, count, i, stops_of(events[i])->cap);
    array = sql_array_begin(params, SQL_BOOLEAN, count, 0);
    for (size_t i = 0; i < count; i++) {
        if (events[i]->quota)
            sql_array_bool(&array, stops_of(events[i])->unlimited);
        else
            sql_array_null(&array);
    }
    ADD_OF_QUOTAS(params, count, i, events[i]->committed);
    ADD_OF_QUOTAS(params, count, i, events[i]->debt);
    ADD_OF_QUOTAS(params, count, i, events[i]->ledger_seq);
}

void rows_event_insert_params(struct sql_params *params, const struct book *book, size_t *ret_count)
{
    struct event_row **events;
    struct sql_array array;
    int64_t *numbers;
    size_t count = 0;
    size_t job_bytes = 0;

    for (struct event_row *event = book->events; event; event = event->next) {
        job_bytes += event->job_id.len;
        count++;
    }
    *ret_count = count;
    events = arena_array(book->arena, count + 1, sizeof(*events));
    numbers = arena_array(book->arena, count + 1, sizeof(*numbers));
    if (!events || !numbers) {
        params->bad = true;
        return;
    }
    count = 0;
    for (struct event_row *event = book->events; event; event = event->next)
        events[count++] = event;
    number_events(events, count, numbers);
    sql_add_time_ms(params, book->now_ms);
    ADD_I64S(params, count, i, events[i]->tenant_id);
    sql_add_i64s(params, numbers, count);
    ADD_I64S(params, count, i, (int64_t)events[i]->kind);
    ADD_I64S(params, count, i, events[i]->direction);
    ADD_I64S(params, count, i, basis_of(events[i]));
    event_quotas_params(params, events, count);
    ADD_I64S(params, count, i, events[i]->level);
    array = sql_array_begin(params, SQL_TEXT, count, job_bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, events[i]->job_id);
    ADD_I64S(params, count, i, events[i]->attempt.epoch);
    ADD_I64S(params, count, i, events[i]->attempt.seq);
    ADD_I64S(params, count, i, (int64_t)events[i]->recovered_from);
    ADD_I64S(params, count, i, events[i]->held);
}

static enum status write_events(struct database *db, const struct book *book)
{
    struct sql_params params;
    enum status status;
    size_t count;
    size_t events = 0;
    int64_t *tenants;
    PGresult *result;

    for (const struct event_row *event = book->events; event; event = event->next)
        events++;
    tenants = arena_array(book->arena, events, sizeof(*tenants));
    if (!tenants)
        return STATUS_EXHAUSTED;
    count = rows_event_tenants(book, tenants, events);
    sql_params_begin(&params, book->arena);
    rows_event_lock_params(&params, tenants, count);
    status = database_run(db, &rows_event_lock, &params, NULL);
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, book->arena);
    rows_event_insert_params(&params, book, &count);
    status = database_run(db, &rows_event_insert, &params, &result);
    if (status == STATUS_OK)
        rows_event_told(result);
    return status;
}

enum status rows_write(struct database *db, struct book *book)
{
    enum status status = STATUS_OK;
    struct sql_params params;
    size_t count;

    sql_params_begin(&params, book->arena);
    rows_quota_update_params(&params, book, &count);
    if (count > 0 || params.bad)
        status = database_run(db, &rows_quota_update[sql_form(count)], &params, NULL);
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, book->arena);
    rows_lease_update_params(&params, book, &count);
    if (count > 0 || params.bad)
        status = database_run(db, &rows_lease_update, &params, NULL);
    if (status == STATUS_OK && book->events)
        status = write_events(db, book);
    return status;
}

/*
 * No ON CONFLICT: the COMMIT travels right behind, so a key that is taken must fail the transaction and
 * with it the COMMIT. Otherwise quotas would count a job that another transaction has recorded.
 */

/* --- records and fences ----------------------------------------------------------------------- */

/* clang-format off */
#define LEDGER_INSERT(part)                                                                        \
    {                                                                                              \
        "rows_ledger_insert" part,                                                                 \
        "INSERT INTO ledger" part " (tenant_id, job_id, entry, hold_epoch, hold_seq, scope, meter,"\
        " asked, amount, debt, held, late, counted, at) SELECT n.tenant, n.job, n.entry, n.epoch," \
        " n.seq, n.scope, n.meter, n.asked, n.amount, n.debt, n.held, n.late,"                     \
        " ($15::bigint[])[n.counted_from:n.counted_to], $16::timestamptz"                          \
        " FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, text, job) ", "              \
        SQL_ROWS(3, bigint, entry) ", " SQL_ROWS(4, bigint, epoch) ", " SQL_ROWS(5, bigint, seq) ", "\
        SQL_ROWS(6, text, scope) ", " SQL_ROWS(7, text, meter) ", " SQL_ROWS(8, bigint, asked) ", "\
        SQL_ROWS(9, bigint, amount) ", " SQL_ROWS(10, bigint, debt) ", " SQL_ROWS(11, bigint, held)\
        ", " SQL_ROWS(12, boolean, late) ", " SQL_ROWS(13, bigint, counted_from) ", "              \
        SQL_ROWS(14, bigint, counted_to) ") AS n"                                                  \
    }
/* clang-format on */

const struct statement rows_ledger_insert[] = {ROWS_LEDGER_PARTS(LEDGER_INSERT)};

/* One row of the ledger to be. */
struct line {
    const struct settle_item *item;
    const struct settle_entry *entry;
    int64_t number;
    int64_t counted_from, counted_to; /* its part of all lines' numbers, from 1 */
};

enum { COUNTED_NUMBERS = 5 };

static size_t entries_of(struct settle_item *const *items, size_t count)
{
    size_t entries = 0;

    for (size_t i = 0; i < count; i++)
        if (items[i]->made_record)
            entries += items[i]->record->entries_count;
    return entries;
}

/* NULL: no memory. */
static struct line *make_lines(struct arena *arena, struct settle_item *const *items, size_t count,
                               size_t *ret_count)
{
    struct line *lines = arena_array(arena, entries_of(items, count) + 1, sizeof(*lines));
    int64_t numbers = 0;
    size_t made = 0;

    for (size_t i = 0; lines && i < count; i++) {
        const struct settle_record *record = items[i]->record;

        if (!items[i]->made_record)
            continue;
        CHECK(record->entries_count > 0);
        for (size_t entry = 0; entry < record->entries_count; entry++) {
            struct line line = {items[i], &record->entries[entry], (int64_t)entry, numbers + 1, 0};

            numbers += (int64_t)line.entry->counted_count * COUNTED_NUMBERS;
            line.counted_to = numbers;
            lines[made++] = line;
        }
    }
    *ret_count = made;
    return lines;
}

/* What the lines were counted against, one behind the other. */
static void add_counted(struct sql_params *params, const struct line *lines, size_t count)
{
    size_t numbers = count > 0 ? (size_t)lines[count - 1].counted_to : 0;
    struct sql_array array = sql_array_begin(params, SQL_BIGINT, numbers, 0);

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < lines[i].entry->counted_count; k++) {
            const struct settle_counted *counted = &lines[i].entry->counted[k];

            sql_array_i64(&array, counted->ref.limit_id);
            sql_array_i64(&array, counted->ref.period_start_ms);
            sql_array_i64(&array, counted->ledger_seq);
            sql_array_i64(&array, counted->amount);
            sql_array_i64(&array, counted->debt);
        }
    }
}

void rows_ledger_insert_params(struct sql_params *params, struct settle_item *const *items,
                               size_t count, size_t *ret_count)
{
    struct sql_array array;
    size_t n = 0;
    struct line *lines = make_lines(params->arena, items, count, &n);

    *ret_count = n;
    if (!lines) {
        params->bad = true;
        return;
    }
    ADD_I64S(params, n, i, lines[i].item->tenant_id);
    ADD_TEXTS(params, n, i, lines[i].item->job_id);
    ADD_I64S(params, n, i, lines[i].number);
    ADD_I64S(params, n, i, lines[i].item->record->attempt.epoch);
    ADD_I64S(params, n, i, lines[i].item->record->attempt.seq);
    ADD_TEXTS(params, n, i, lines[i].item->record->scope);
    ADD_TEXTS(params, n, i, lines[i].entry->meter);
    array = sql_array_begin(params, SQL_BIGINT, n, 0);
    for (size_t i = 0; i < n; i++) {
        if (lines[i].entry->asked_given)
            sql_array_i64(&array, lines[i].entry->asked);
        else
            sql_array_null(&array);
    }
    ADD_I64S(params, n, i, lines[i].entry->amount);
    ADD_I64S(params, n, i, lines[i].entry->debt);
    ADD_I64S(params, n, i, lines[i].entry->held);
    array = sql_array_begin(params, SQL_BOOLEAN, n, 0);
    for (size_t i = 0; i < n; i++)
        sql_array_bool(&array, lines[i].item->record->late);
    ADD_I64S(params, n, i, lines[i].counted_from);
    ADD_I64S(params, n, i, lines[i].counted_to);
    add_counted(params, lines, n);
    sql_add_time_ms(params, n > 0 ? lines[0].item->record->at_ms : 0);
}

const struct statement rows_fence_insert = {
    "rows_fence_insert",
    "INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, at, purge_after)"
    " SELECT n.tenant, n.job, n.epoch, n.seq, $5::timestamptz, $6::timestamptz"
    " FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, text, job) ", " SQL_ROWS(
        3, bigint, epoch) ", " SQL_ROWS(4, bigint, seq) ") AS n"};

void rows_fence_insert_params(struct sql_params *params, struct settle_item *const *items,
                              size_t count, int64_t now_ms, int64_t keep_ms, size_t *ret_count)
{
    struct made_fence {
        const struct settle_item *item;
        struct attempt attempt;
    } * made;
    size_t n = 0, most = 1;

    *ret_count = 0;
    for (size_t i = 0; i < count; i++)
        most += items[i]->fenced_count;
    made = arena_array(params->arena, most, sizeof(*made));
    if (!made) {
        params->bad = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < items[i]->fenced_count; k++)
            made[n++] = (struct made_fence){items[i], items[i]->fenced[k]};
    *ret_count = n;
    ADD_I64S(params, n, i, made[i].item->tenant_id);
    ADD_TEXTS(params, n, i, made[i].item->job_id);
    ADD_I64S(params, n, i, made[i].attempt.epoch);
    ADD_I64S(params, n, i, made[i].attempt.seq);
    sql_add_time_ms(params, now_ms);
    sql_add_time_ms(params, now_ms + keep_ms);
}

/* --- holds in Postgres ------------------------------------------------------------------------ */

/* clang-format off */
#define PLACED_NAMES                                                                               \
    SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, text, job) ", "                                   \
    SQL_ROWS(3, bigint, epoch) ", " SQL_ROWS(4, bigint, seq)
#define PLACED_ROWS                                                                                \
    PLACED_NAMES ", " SQL_ROWS(5, bigint, deadline) ", " SQL_ROWS(6, text, hold)

#define PLACED_KEY ROWS_KEY_TENANT " AND job_id = n.job AND epoch = n.epoch AND hold_seq = n.seq"

const struct statement rows_placed_insert = {
    "rows_placed_insert",
    "INSERT INTO pg_hold (tenant_id, job_id, epoch, hold_seq, deadline_ms, hold)"
    " SELECT " PLACED_ROWS " ON CONFLICT (tenant_id, job_id) DO NOTHING"};

const struct statement rows_placed_update = {
    "rows_placed_update",
    "UPDATE pg_hold p SET deadline_ms = n.deadline, hold = n.hold FROM (SELECT " PLACED_ROWS ") AS n"
    ROWS_PLACE(pg_hold, PLACED_KEY) " WHERE p.ctid = k.place"};

const struct statement rows_placed_delete = {
    "rows_placed_delete",
    "DELETE FROM pg_hold p USING (SELECT " PLACED_NAMES ") AS n"
    ROWS_PLACE(pg_hold, PLACED_KEY) " WHERE p.ctid = k.place"};
/* clang-format on */

void rows_placed_names(struct sql_params *params, const struct rows_placed *rows, size_t count)
{
    ADD_I64S(params, count, i, rows[i].tenant_id);
    ADD_TEXTS(params, count, i, rows[i].job_id);
    ADD_I64S(params, count, i, rows[i].hold->attempt.epoch);
    ADD_I64S(params, count, i, rows[i].hold->attempt.seq);
}

void rows_placed_params(struct sql_params *params, const struct rows_placed *rows, size_t count)
{
    struct slice *texts = arena_array(params->arena, count + 1, sizeof(*texts));

    for (size_t i = 0; texts && i < count; i++) {
        const char *text = hold_text(params->arena, rows[i].hold);

        params->bad |= !text;
        texts[i] = slice_from_cstr(text ? text : "");
    }
    params->bad |= !texts;
    if (params->bad)
        return;
    rows_placed_names(params, rows, count);
    ADD_I64S(params, count, i, rows[i].hold->deadline_ms);
    ADD_TEXTS(params, count, i, texts[i]);
}

void rows_dropped_names(struct sql_params *params, struct settle_item *const *items, size_t count,
                        size_t *ret_count)
{
    struct rows_placed *rows = arena_array(params->arena, count + 1, sizeof(*rows));
    size_t n = 0;

    *ret_count = 0;
    if (!rows) {
        params->bad = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (items[i]->dropped)
            rows[n++] =
                (struct rows_placed){items[i]->tenant_id, items[i]->job_id, items[i]->dropped};
    *ret_count = n;
    rows_placed_names(params, rows, n);
}
