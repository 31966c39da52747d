/*
 * The end of a period as an event of time, not of traffic: who waits for the next period is told by
 * PERIOD_STARTED, whoever else may be idle.
 *
 *     find    periods that are over and not followed up; whose rows, limits and tenants nobody has locked
 *     make    the limits' current periods, where the one that is over was used (rows_make.c: once)
 *     mark    followed
 *
 * Each step is a transaction of its own. Whoever dies in between leaves rows that are found again; a
 * period that is made already is not made twice. One that the database refuses to make keeps no other
 * from being made: it is told in the log, marked all the same, and made by the first use. No use in a
 * period ends the chain: idle limits cost nothing, however many there are, and the first use begins it
 * anew.
 */
#include "base/fault.h"
#include "base/log.h"
#include "ledger/calendar.h"
#include "ledger/ledger.h"
#include "ledger/rows.h"

#include <inttypes.h>

/* As the index quota_follow says; the locks are let go at once. */
/* clang-format off */
static const struct statement find = {
    "periods_find",
    "SELECT q.tenant_id, q.limit_id, q.period_start_ms, q.ledger_seq > 0, l.period_kind,"
    " " LEDGER_BOUNDARIES_SQL ", (SELECT clock_timestamp()) FROM quota q"
    ROWS_OF(limit_, "tenant_id = q.tenant_id AND limit_id = q.limit_id") " AS l"
    ROWS_OF(tenant, "tenant_id = q.tenant_id") " AS t"
    " WHERE (q.level = 0) = $2::boolean AND NOT q.followed"
    " AND q.period_end_ms < " LEDGER_NEVER " AND q.period_end_ms <= " SQL_MS_OF(
        "clock_timestamp()") " ORDER BY q.period_end_ms"
                             " LIMIT $1::bigint FOR UPDATE OF q SKIP LOCKED FOR SHARE OF l SKIP LOCKED"
                             " FOR NO KEY UPDATE OF t SKIP LOCKED"};
/* clang-format on */

/* clang-format off */
static const struct statement mark = {
    "periods_mark",
    "UPDATE quota q SET followed = true FROM (SELECT q.place FROM " ROWS_REFS(SQL_ROWS)
    " CROSS JOIN LATERAL (SELECT ctid AS place FROM quota WHERE " ROWS_KEY_QUOTA " OFFSET 0) AS q"
    " FOR UPDATE OF q SKIP LOCKED) free WHERE q.ctid = free.place"};
/* clang-format on */

struct following {
    struct arena *arena;
    size_t max;
    struct rows_ref *over; /* room for max, like next */
    size_t over_count;
    struct rows_ref *next;
    size_t next_count;
};

static void tell_refused(const struct rows_ref *ref, const char *why)
{
    log_error("ledger", "period.refused tenant=%" PRId64 " limit=%" PRId64 " why=%s",
              ref->tenant_id, ref->ref.limit_id, LOG_VALUE(why));
}

/* Those that ended at a level, or those that did not. */
static enum status find_over(struct database *db, struct following *following, bool level_zero)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, following->arena);
    sql_add_i64(&params, (int64_t)(following->max - following->over_count));
    sql_add_bool(&params, level_zero);
    status = database_run(db, &find, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, following->arena);
    row.bad = sql_count(&row) > following->max - following->over_count;
    while (sql_next(&row)) {
        struct rows_ref ref = {.tenant_id = sql_i64(&row)};
        struct calendar calendar;
        bool used;
        int64_t kind, now_ms;

        ref.ref.limit_id = sql_i64(&row);
        ref.ref.period_start_ms = sql_i64(&row);
        following->over[following->over_count++] = ref;
        used = sql_bool(&row);
        kind = ledger_period(sql_i64(&row));
        calendar_read(&row, &calendar);
        now_ms = sql_time_ms(&row);
        if (!period_known(kind)) {
            tell_refused(&ref, "the limit has a period that there is not");
        } else if (used) {
            ref.ref.period_start_ms = calendar_start_ms(&calendar, (enum period)kind, now_ms);
            following->next[following->next_count++] = ref;
        }
    }
    return sql_done(&row);
}

/* What is refused is run again in halves, until what it is refused for is alone. */
static enum status make(struct database *db, struct arena *arena, const struct rows_ref *refs,
                        size_t count)
{
    enum status status = rows_make(db, arena, refs, count, NULL);
    size_t half = count / 2;

    if (status != STATUS_FAULT && status != STATUS_INVALID && status != STATUS_CORRUPT)
        return status;
    if (half == 0) {
        tell_refused(&refs[0], database_error(db));
        return STATUS_OK;
    }
    status = make(db, arena, refs, half);
    return status == STATUS_OK ? make(db, arena, refs + half, count - half) : status;
}

static enum status mark_followed(struct database *db, struct following *following)
{
    struct sql_array column;
    struct sql_params params;
    const struct rows_ref *refs = following->over;
    size_t count = rows_refs_sort(following->over, following->over_count);

    sql_params_begin(&params, following->arena);
    column = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&column, refs[i].tenant_id);
    column = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&column, refs[i].ref.limit_id);
    column = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&column, refs[i].ref.period_start_ms);
    return database_run(db, &mark, &params, NULL);
}

enum status ledger_periods_follow(struct database *db, struct arena *arena, size_t max,
                                  bool *ret_more)
{
    struct following following = {
        .arena = arena,
        .max = max,
        .over = arena_array(arena, max, sizeof(*following.over)),
        .next = arena_array(arena, max, sizeof(*following.next)),
    };
    enum status status;

    *ret_more = false;
    if (!following.over || !following.next)
        return STATUS_EXHAUSTED;
    status = calendars_write_all(db, arena, max);
    if (status == STATUS_OK)
        status = find_over(db, &following, false);
    if (status == STATUS_OK && following.over_count < max)
        status = find_over(db, &following, true);
    if (status != STATUS_OK || following.over_count == 0)
        return status;
    *ret_more = following.over_count == max;
    following.next_count = rows_refs_sort(following.next, following.next_count);
    status = make(db, arena, following.next, following.next_count);
    if (status == STATUS_OK && FAULT("periods.made"))
        return STATUS_UNAVAILABLE;
    return status == STATUS_OK ? mark_followed(db, &following) : status;
}
