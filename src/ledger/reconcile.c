#include "ledger/reconcile.h"

#include "ledger/entries.h"
#include "ledger/rows.h"

#include <stdlib.h>

/* Of one tenant, as a look that nobody waits for adds them up. */
#define HOLDS_MAX 512

/* clang-format off */
static const struct statement one_state = {
    "sums_state", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"};

static const struct statement find_tenant = {
    "sums_tenant", "SELECT tenant_id FROM tenant WHERE name = $1::text"};

#define LIST(of)                                                                                   \
    "SELECT r.tenant_id, r.limit_id, r.period_start_ms, t.shard"                                   \
    " FROM (SELECT tenant_id, limit_id, period_start_ms FROM quota WHERE " of                      \
    " (tenant_id, limit_id, period_start_ms) > ($1::bigint, $2::bigint, $3::bigint)"               \
    " ORDER BY tenant_id, limit_id, period_start_ms LIMIT $4::bigint) r"                           \
    ROWS_OF(tenant, "tenant_id = r.tenant_id") " AS t ORDER BY 1, 2, 3"
static const struct statement list_all = {"sums_list_all", LIST("")};
static const struct statement list_lent = {"sums_list_lent", LIST("lent AND")};
static const struct statement list_tenant = {
    "sums_list_tenant", LIST("tenant_id = $5::bigint AND")};
static const struct statement list_tenant_lent = {
    "sums_list_tenant_lent", LIST("lent AND tenant_id = $5::bigint AND")};

#define READ(rows)                                                                                 \
    "SELECT coalesce((SELECT sum(granted - returned - spent) FROM old_lease o"                     \
    " WHERE o.tenant_id = n.tenant AND o.limit_id = n.lim"                                         \
    " AND o.period_start_ms = n.start), 0)::bigint,"                                               \
    " coalesce(s.seq, 0), coalesce(s.amount, 0), coalesce(s.debt, 0), " ROWS_LOSS_WAITS ", "       \
    ROWS_QUOTA_COLUMNS                                                                             \
    " FROM " ROWS_REFS(rows)                                                                       \
    ROWS_OF(quota, ROWS_KEY_QUOTA) " AS q" ROWS_OF(limit_, ROWS_KEY_LIMIT) " AS l"                 \
    " LEFT JOIN LATERAL (SELECT seq, amount, debt FROM seal WHERE " ROWS_KEY_QUOTA                 \
    " OFFSET 0) AS s ON true"
static const struct statement read_rows[] = SQL_FORMS("sums_read", READ);

static const struct statement count_holds = {
    "sums_count_holds",
    "SELECT n.tenant, (SELECT count(*) FROM (SELECT 1 FROM pg_hold h WHERE h.tenant_id = n.tenant"
    " LIMIT $2::bigint) c) FROM (SELECT unnest($1::bigint[]) AS tenant) n"};

static const struct statement add_up_holds = {
    "sums_holds", LEDGER_HOLDS_OF("(SELECT h.* FROM (SELECT unnest($1::bigint[]) AS tenant) n"
                                  ROWS_OF(pg_hold, "tenant_id = n.tenant") " AS h)")
                  " ORDER BY 1, 2, 3"};

static const struct statement add_up_entries = {
    "sums_entries",
    "SELECT $1::bigint, l.counted[n.at + 1], l.counted[n.at + 2], count(*),"
    " least(sum(l.counted[n.at + 4]), " LEDGER_NEVER ")::bigint,"
    " least(sum(l.counted[n.at + 5]), " LEDGER_NEVER ")::bigint"
    " FROM " ENTRIES " l CROSS JOIN LATERAL generate_series(0, cardinality(l.counted) - 1, 5) AS n(at)"
    " WHERE l.tenant_id = $1::bigint AND array_position(l.counted, NULL) IS NULL"
    " GROUP BY 2, 3 ORDER BY 2, 3"};
/* clang-format on */

/* --- list ------------------------------------------------------------------------------------- */

static enum status find_id(struct database *db, struct arena *arena, struct slice name,
                           int64_t *ret_tenant_id, bool *ret_exists)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_text(&params, name);
    status = database_run(db, &find_tenant, &params, &result);
    if (status != STATUS_OK)
        return status;
    *ret_exists = false;
    for (row = sql_rows(result, arena); sql_next(&row);) {
        *ret_tenant_id = sql_i64(&row);
        *ret_exists = true;
    }
    return sql_done(&row);
}

static const struct statement *list_of(const struct ledger_sums_page *page)
{
    if (page->tenant.len > 0)
        return page->lent ? &list_tenant_lent : &list_tenant;
    return page->lent ? &list_lent : &list_all;
}

enum status ledger_sums_list(struct database *db, struct arena *arena,
                             const struct ledger_sums_page *page, bool *ret_exists,
                             struct ledger_sums_key **ret, size_t *ret_count)
{
    int64_t tenant_id = page->after.tenant_id;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status = STATUS_OK;

    *ret = NULL;
    *ret_count = 0;
    *ret_exists = true;
    if (page->tenant.len > 0)
        status = find_id(db, arena, page->tenant, &tenant_id, ret_exists);
    if (status != STATUS_OK || !*ret_exists)
        return status;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    sql_add_i64(&params, page->after.ref.limit_id);
    sql_add_i64(&params, page->after.ref.period_start_ms);
    sql_add_i64(&params, (int64_t)page->max);
    if (page->tenant.len > 0)
        sql_add_i64(&params, tenant_id);
    status = database_run(db, list_of(page), &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        struct ledger_sums_key *key = &(*ret)[(*ret_count)++];

        *key = (struct ledger_sums_key){.tenant_id = sql_i64(&row)};
        key->ref.limit_id = sql_i64(&row);
        key->ref.period_start_ms = sql_i64(&row);
        key->shard = (int)sql_i64(&row);
    }
    return sql_done(&row);
}

/* --- read ------------------------------------------------------------------------------------- */

struct reading {
    struct arena *arena;
    const struct ledger_sums_key *keys;
    size_t count;
    enum ledger_entries_from from;
    struct ledger_sums *sums;
    int64_t *tenants; /* each once, in order */
    size_t tenants_count;
};

static int key_compare(int64_t tenant_id, struct quota_ref ref, const struct ledger_sums_key *key)
{
    return rows_ref_compare((struct rows_ref){tenant_id, ref},
                            (struct rows_ref){key->tenant_id, key->ref});
}

/* NULL: it is none of the keys. */
static struct ledger_sums *find_sums(struct reading *reading, int64_t tenant_id,
                                     struct quota_ref ref)
{
    size_t low = 0, high = reading->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = key_compare(tenant_id, ref, &reading->keys[middle]);

        if (order == 0)
            return &reading->sums[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void take_row(struct sql_row *row, struct reading *reading)
{
    int64_t old = sql_i64(row), seq = sql_i64(row), amount = sql_i64(row), debt = sql_i64(row);
    bool loss_waits = sql_bool(row);
    struct quota_row read;
    struct ledger_sums *sums;

    rows_quota_read(row, &read);
    sums = find_sums(reading, read.tenant_id, read.ref);
    row->bad |= !sums;
    if (row->bad)
        return;
    *sums = (struct ledger_sums){.exists = true, .row = read};
    sums->row.shard = reading->keys[sums - reading->sums].shard;
    sums->sums = (struct drift_sums){
        .row = &sums->row,
        .leases = read.granted - read.returned - read.spent + old,
        .loss_waits = loss_waits,
        .entries_known = reading->from == ENTRIES_FROM_LEDGER || seq == read.ledger_seq,
    };
    if (reading->from == ENTRIES_FROM_SEALS) {
        sums->sums.entries = seq;
        sums->sums.amount = amount;
        sums->sums.debt = debt;
    }
}

static enum status read_quotas(struct database *db, struct reading *reading)
{
    struct rows_ref *refs = arena_array(reading->arena, reading->count, sizeof(*refs));
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    if (!refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < reading->count; i++)
        refs[i] = (struct rows_ref){reading->keys[i].tenant_id, reading->keys[i].ref};
    sql_params_begin(&params, reading->arena);
    rows_refs_params(&params, refs, reading->count);
    status = database_run(db, &read_rows[sql_form(reading->count)], &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, reading->arena); sql_next(&row);)
        take_row(&row, reading);
    return sql_done(&row);
}

static void know_holds(struct reading *reading, int64_t tenant_id)
{
    for (size_t i = 0; i < reading->count; i++)
        if (reading->keys[i].tenant_id == tenant_id)
            reading->sums[i].sums.holds_known = true;
}

/* Leaves in the list the tenants whose holds are to be added up. */
static enum status select_tenants(struct database *db, struct reading *reading)
{
    int64_t max = reading->from == ENTRIES_FROM_LEDGER ? INT32_MAX : HOLDS_MAX;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t kept = 0;

    sql_params_begin(&params, reading->arena);
    sql_add_i64s(&params, reading->tenants, reading->tenants_count);
    sql_add_i64(&params, max);
    status = database_run(db, &count_holds, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, reading->arena); sql_next(&row);) {
        int64_t tenant_id = sql_i64(&row), holds = sql_i64(&row);

        if (holds < max)
            know_holds(reading, tenant_id);
        if (holds > 0 && holds < max && kept < reading->tenants_count)
            reading->tenants[kept++] = tenant_id;
    }
    reading->tenants_count = kept;
    return sql_done(&row);
}

static enum status read_holds(struct database *db, struct reading *reading)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status = select_tenants(db, reading);

    if (status != STATUS_OK || reading->tenants_count == 0)
        return status;
    sql_params_begin(&params, reading->arena);
    sql_add_i64s(&params, reading->tenants, reading->tenants_count);
    status = database_run(db, &add_up_holds, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, reading->arena); sql_next(&row);) {
        int64_t tenant_id = sql_i64(&row), limit_id = sql_i64(&row), start_ms = sql_i64(&row);
        struct ledger_sums *sums =
            find_sums(reading, tenant_id, (struct quota_ref){limit_id, start_ms});
        int64_t units = sql_i64(&row);

        if (sums)
            sums->sums.holds = units;
    }
    return sql_done(&row);
}

static enum status read_entries(struct database *db, struct reading *reading)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, reading->arena);
    sql_add_i64(&params, reading->keys[0].tenant_id);
    status = database_run(db, &add_up_entries, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, reading->arena); sql_next(&row);) {
        int64_t tenant_id = sql_i64(&row), limit_id = sql_i64(&row), start_ms = sql_i64(&row);
        int64_t entries = sql_i64(&row), amount = sql_i64(&row), debt = sql_i64(&row);
        struct ledger_sums *sums =
            find_sums(reading, tenant_id, (struct quota_ref){limit_id, start_ms});

        if (!sums)
            continue;
        sums->sums.entries = entries;
        sums->sums.amount = amount;
        sums->sums.debt = debt;
    }
    return sql_done(&row);
}

static bool make_room(struct reading *reading)
{
    reading->sums = arena_array(reading->arena, reading->count + 1, sizeof(*reading->sums));
    reading->tenants = arena_array(reading->arena, reading->count + 1, sizeof(*reading->tenants));
    if (!reading->sums || !reading->tenants)
        return false;
    for (size_t i = 0; i < reading->count; i++) {
        reading->sums[i] = (struct ledger_sums){0};
        if (i == 0 || reading->keys[i].tenant_id != reading->keys[i - 1].tenant_id)
            reading->tenants[reading->tenants_count++] = reading->keys[i].tenant_id;
    }
    return true;
}

enum status ledger_sums_read(struct database *db, struct arena *arena,
                             const struct ledger_sums_key *keys, size_t count,
                             enum ledger_entries_from from, struct ledger_sums **ret)
{
    struct reading reading = {.arena = arena, .keys = keys, .count = count, .from = from};
    enum status status;

    if (!make_room(&reading))
        return STATUS_EXHAUSTED;
    *ret = reading.sums;
    if (count == 0)
        return STATUS_OK;
    status = database_begin(db);
    if (status == STATUS_OK)
        status = database_run(db, &one_state, NULL, NULL);
    if (status == STATUS_OK)
        status = read_quotas(db, &reading);
    if (status == STATUS_OK)
        status = read_holds(db, &reading);
    if (status == STATUS_OK && from == ENTRIES_FROM_LEDGER)
        status = read_entries(db, &reading);
    database_rollback(db);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}
