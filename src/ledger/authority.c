/*
 * Which Redis may serve a shard: rows of shard_authority, changed only by compare and set on epoch.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"
#include "quota/times.h"

#include <string.h>

enum { AUTHORITY_ARENA_BYTES = 8192, AUTHORITY_ARENA_MAX = 1 << 20 };

static const struct statement make_rows = {
    "authority_make", "INSERT INTO shard_authority (shard, epoch, state, changed)"
                      " SELECT s, 1, 'I', 'epoch' FROM unnest($1::bigint[]) AS s"
                      " ON CONFLICT (shard) DO NOTHING"};

static const struct statement read_rows = {
    "authority_read", "SELECT shard, epoch, state = 'A', replid, nonce FROM shard_authority"
                      " WHERE shard = ANY ($1::bigint[])"};

static const struct statement read_all = {
    "authority_all", "SELECT shard, epoch, state = 'A', replid, nonce FROM shard_authority"};

#define MAKING "interval '" TEXT_OF(AUTHORITY_MAKING_MS) " milliseconds'"

/*
 * A row that somebody is making ready is left alone for a second. Comparing the epoch alone is not enough: a
 * row that was seen in state I may be active by now, and a bump would take it from the server that has just
 * made it ready.
 */
static const struct statement bump_row = {
    "authority_bump",
    "UPDATE shard_authority SET epoch = greatest(epoch, $3::bigint) + 1, state = 'I',"
    " replid = $4::text, nonce = '', changed = clock_timestamp(), reason = $5::text"
    " WHERE shard = $1::bigint AND epoch = $2::bigint"
    " AND (state = 'A') = $6::boolean AND nonce = $7::text"
    " AND NOT (state = 'I' AND changed > clock_timestamp() - " MAKING ")"};

static const struct statement activate_row = {
    "authority_activate",
    "UPDATE shard_authority SET state = 'A', nonce = $3::text, changed = clock_timestamp()"
    " WHERE shard = $1::bigint AND epoch = $2::bigint AND state = 'I'"};

static bool copy_text(char *to, size_t room, struct slice from)
{
    if (from.len >= room)
        return false;
    if (from.len > 0)
        memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

static void read_view(struct sql_row *row, struct shard_view *view)
{
    view->shard = (int)sql_i64(row);
    view->epoch = sql_i64(row);
    view->active = sql_bool(row);
    if (!copy_text(view->replid, sizeof(view->replid), sql_text(row)) ||
        !copy_text(view->nonce, sizeof(view->nonce), sql_text(row)) || view->shard < 0 ||
        view->shard >= SHARDS)
        row->bad = true;
}

static enum status read_some(struct database *db, struct arena *arena, const int64_t *shards,
                             size_t count, struct shard_view *ret_views, size_t *ret_found)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64s(&params, shards, count);
    status = database_run(db, &read_rows, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret_found = sql_count(&row);
    while (sql_next(&row)) {
        struct shard_view view = {0};

        read_view(&row, &view);
        for (size_t i = 0; i < count && !row.bad; i++)
            if (shards[i] == view.shard)
                ret_views[i] = view;
    }
    return sql_done(&row);
}

static enum status read_or_make(struct database *db, struct arena *arena, const int *shards,
                                size_t count, struct shard_view *ret_views)
{
    int64_t *wanted = arena_array(arena, count, sizeof(*wanted));
    struct sql_params params;
    enum status status;
    size_t found;

    if (!wanted)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++)
        wanted[i] = shards[i];
    status = read_some(db, arena, wanted, count, ret_views, &found);
    if (status != STATUS_OK || found == count)
        return status;
    sql_params_begin(&params, arena);
    sql_add_i64s(&params, wanted, count);
    status = database_run(db, &make_rows, &params, NULL);
    if (status != STATUS_OK)
        return status;
    status = read_some(db, arena, wanted, count, ret_views, &found);
    return status == STATUS_OK && found != count ? STATUS_CORRUPT : status;
}

enum status ledger_authority_read(struct database *db, const int *shards, size_t count,
                                  struct shard_view *ret_views)
{
    struct arena arena;
    enum status status;

    CHECK(count > 0);
    arena_init(&arena, AUTHORITY_ARENA_BYTES, AUTHORITY_ARENA_MAX);
    status = read_or_make(db, &arena, shards, count, ret_views);
    arena_done(&arena);
    return status;
}

enum status ledger_authority_all(struct database *db, struct shard_view views[SHARDS],
                                 bool known[SHARDS])
{
    struct arena arena;
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &read_all, NULL, &result);

    if (status != STATUS_OK)
        return status;
    memset(known, 0, SHARDS * sizeof(*known));
    arena_init(&arena, AUTHORITY_ARENA_BYTES, AUTHORITY_ARENA_MAX);
    row = sql_rows(result, &arena);
    while (sql_next(&row)) {
        struct shard_view view = {0};

        read_view(&row, &view);
        if (row.bad)
            break;
        views[view.shard] = view;
        known[view.shard] = true;
    }
    status = sql_done(&row);
    arena_done(&arena);
    return status;
}

/* Runs the change, and reads the row whatever came of it. */
static enum status change(struct database *db, const struct statement *statement,
                          struct sql_params *params, int shard, bool *ret_won,
                          struct shard_view *ret_view)
{
    size_t rows;
    enum status status = database_run_counted(db, statement, params, &rows);

    if (status != STATUS_OK)
        return status;
    *ret_won = rows == 1;
    return ledger_authority_read(db, &shard, 1, ret_view);
}

enum status ledger_authority_bump(struct database *db, const struct shard_view *from,
                                  int64_t redis_epoch, const char *replid, const char *reason,
                                  bool *ret_won, struct shard_view *ret_view)
{
    struct shard_view mine = *from;
    struct sql_params params;
    struct arena arena;
    enum status status;

    arena_init(&arena, AUTHORITY_ARENA_BYTES, AUTHORITY_ARENA_MAX);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, mine.shard);
    sql_add_i64(&params, mine.epoch);
    sql_add_i64(&params, redis_epoch);
    sql_add_text(&params, slice_from_cstr(replid));
    sql_add_text(&params, slice_from_cstr(reason));
    sql_add_bool(&params, mine.active);
    sql_add_text(&params, slice_from_cstr(mine.nonce));
    status = change(db, &bump_row, &params, mine.shard, ret_won, ret_view);
    arena_done(&arena);
    return status;
}

enum status ledger_authority_activate(struct database *db, const struct shard_view *from,
                                      bool *ret_won, struct shard_view *ret_view)
{
    struct shard_view mine = *from;
    struct sql_params params;
    struct arena arena;
    enum status status;

    arena_init(&arena, AUTHORITY_ARENA_BYTES, AUTHORITY_ARENA_MAX);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, mine.shard);
    sql_add_i64(&params, mine.epoch);
    sql_add_text(&params, slice_from_cstr(mine.nonce));
    status = change(db, &activate_row, &params, mine.shard, ret_won, ret_view);
    arena_done(&arena);
    return status;
}
