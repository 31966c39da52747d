#include "ledger/limit_quotas.h"

#include "base/amount.h"
#include "ledger/database_internal.h"
#include "ledger/reserved.h"
#include "ledger/rows.h"
#include "quota/lease.h"

/*
 * Periods that are not over: this one, and the next where a server has made it early. A range of the
 * key: what it costs does not depend on how many periods are still to be closed.
 */
#define NOT_OVER(start)                                                                            \
    " WHERE tenant_id = $1::bigint AND limit_id = $2::bigint AND period_start_ms >= " start        \
    "::bigint AND state <> 'X'"

static const struct statement find = {"limit_quotas_find",
                                      "SELECT period_start_ms FROM quota" NOT_OVER("$3")};

/* rows_write leaves what belongs to the limit alone. */
static const struct statement update = {
    "limit_quotas_update",
    "UPDATE quota SET limit_amount = $4::bigint, cap_amount = $5::bigint, soft_amount = $6::bigint,"
    " unlimited = $7::boolean" NOT_OVER("$3")};

enum status limit_quotas_lock(struct database *db, struct book *book,
                              const struct limit_bounds *bounds)
{
    struct sql_params params;
    struct rows_ref *refs;
    struct sql_row row;
    PGresult *result;
    enum status status = database_clock(db, &book->now_ms);
    size_t count = 0;

    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, book->arena);
    sql_add_i64(&params, bounds->tenant_id);
    sql_add_i64(&params, bounds->limit_id);
    sql_add_i64(&params, calendar_start_ms(&bounds->calendar, bounds->period, book->now_ms));
    status = database_run(db, &find, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, book->arena);
    refs = arena_array(book->arena, sql_count(&row) + 1, sizeof(*refs));
    row.bad = !refs;
    while (sql_next(&row))
        refs[count++] = (struct rows_ref){bounds->tenant_id, {bounds->limit_id, sql_i64(&row)}};
    status = sql_done(&row);
    if (status != STATUS_OK)
        return status;
    count = rows_refs_sort(refs, count);
    status = rows_lock_tenant(db, book, refs, count);
    for (size_t i = 0; status == STATUS_OK && i < book->quotas_count; i++)
        book->quotas[i].shard = bounds->shard;
    return status;
}

/* The quota of the current period; one that nobody has used yet is made up. NULL: no memory. */
static struct quota_row *current(struct book *book, const struct limit_bounds *bounds)
{
    int64_t start_ms = calendar_start_ms(&bounds->calendar, bounds->period, book->now_ms);
    struct quota_ref ref = {bounds->limit_id, start_ms};
    struct quota_row *quota = book_find_quota(book, bounds->tenant_id, ref);

    if (quota)
        return quota;
    quota = arena_zalloc(book->arena, sizeof(*quota));
    if (!quota)
        return NULL;
    quota->tenant_id = bounds->tenant_id;
    quota->ref = ref;
    quota->period = bounds->period;
    quota->period_end_ms = calendar_end_ms(&bounds->calendar, bounds->period, start_ms);
    quota->stops = bounds->stops;
    return quota;
}

/* NULL: no memory. */
static struct event_row *announce(struct book *book, const struct limit_bounds *bounds)
{
    const struct quota_row *quota = current(book, bounds);
    struct event_row *event;

    if (!quota)
        return NULL;
    event = book_event(book, bounds->tenant_id, EVENT_LIMIT_CHANGED, (struct slice){NULL, 0},
                       (struct attempt){0});
    event->quota = quota;
    event->committed = quota->committed;
    event->debt = quota->debt;
    event->ledger_seq = quota->ledger_seq;
    event->level = threshold_level(&quota->stops, quota->committed + quota->debt);
    return event;
}

static void give_stops(struct quota_row *quota, const struct stops *stops)
{
    int64_t cap_before = quota->stops.cap;

    quota->stops = *stops;
    /* The largest that a lease of this limit may be. */
    quota->lease_target = amount_min(quota->lease_target, lease_target(stops, AMOUNT_MAX));
    if (stops->cap < cap_before && quota->leased > 0)
        quota->recall = true;
    else if (stops->cap > cap_before && book_room(quota) >= 0)
        quota->recall = false;
    quota->dirty = true;
}

static enum status write_stops(struct database *db, struct book *book,
                               const struct limit_bounds *bounds)
{
    struct sql_params params;

    sql_params_begin(&params, book->arena);
    sql_add_i64(&params, bounds->tenant_id);
    sql_add_i64(&params, bounds->limit_id);
    sql_add_i64(&params, book->quotas[0].ref.period_start_ms);
    sql_add_i64(&params, bounds->stops.amount);
    sql_add_i64(&params, bounds->stops.cap);
    sql_add_i64(&params, bounds->stops.soft);
    sql_add_bool(&params, bounds->stops.unlimited);
    return database_run(db, &update, &params, NULL);
}

/* The events that follow the change, and all of it into the database. */
static enum status write_change(struct database *db, struct book *book,
                                const struct limit_bounds *bounds)
{
    enum status status = STATUS_OK;

    /* One that ended since it was looked for is over. */
    for (size_t i = 0; i < book->quotas_count; i++)
        if (book->quotas[i].period_end_ms > book->now_ms)
            book_cross(book, &book->quotas[i], (struct slice){NULL, 0}, (struct attempt){0});
    if (book->quotas_count > 0)
        status = write_stops(db, book, bounds);
    if (status == STATUS_OK && book->quotas_count > 0 && bounds->stops.unlimited)
        status = reserved_levels_drop(db, book);
    return status == STATUS_OK ? rows_write(db, book) : status;
}

enum status limit_quotas_change(struct database *db, struct book *book,
                                const struct limit_bounds *bounds)
{
    for (size_t i = 0; i < book->quotas_count; i++)
        give_stops(&book->quotas[i], &bounds->stops);
    return announce(book, bounds) ? write_change(db, book, bounds) : STATUS_EXHAUSTED;
}

enum status limit_quotas_removed(struct database *db, struct book *book,
                                 const struct limit_bounds *bounds)
{
    struct limit_bounds none = *bounds;
    struct event_row *event;

    none.stops = (struct stops){.unlimited = true,
                                .soft = AMOUNT_MAX,
                                .amount = AMOUNT_MAX,
                                .cap = AMOUNT_MAX};
    for (size_t i = 0; i < book->quotas_count; i++) {
        give_stops(&book->quotas[i], &none.stops);
        book->quotas[i].lease_target = 0;
    }
    event = announce(book, &none);
    if (!event)
        return STATUS_EXHAUSTED;
    event->level = LEVEL_REMOVED;
    return write_change(db, book, &none);
}

struct quota_row *limit_quotas_show(struct arena *arena, const struct book *book,
                                    const struct limit_bounds *bounds, size_t *ret_count)
{
    struct quota_row *rows;
    size_t count = 0;

    for (size_t i = 0; i < book->quotas_count; i++)
        count += book->quotas[i].recall || book->quotas[i].period_end_ms > book->now_ms;
    rows = arena_array(arena, count + 1, sizeof(*rows));
    *ret_count = 0;
    for (size_t i = 0; rows && i < book->quotas_count; i++) {
        struct quota_row *row = &rows[*ret_count];

        if (!book->quotas[i].recall && book->quotas[i].period_end_ms <= book->now_ms)
            continue;
        *row = book->quotas[i];
        row->limit_name = bounds->name;
        row->scope = bounds->scope;
        row->meter = bounds->meter;
        (*ret_count)++;
    }
    return rows;
}
