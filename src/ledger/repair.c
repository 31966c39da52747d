#include "ledger/repair.h"

#include "base/log.h"
#include "ledger/audit.h"
#include "ledger/entries.h"
#include "ledger/rows.h"

#include <inttypes.h>
#include <string.h>

/* clang-format off */
/* One at a time: whoever reads what lies between two accounts is the next to change it. */
static const struct statement alone = {
    "repair_alone", "SELECT pg_try_advisory_xact_lock(" TEXT_OF(LEDGER_LOCKS) ", 4)"};

/*
 * All accounts in one statement, and so in one state. Numbers of an entry: "counted" in sql/001_schema.sql.
 */
static const struct statement look = {
    "repair_look",
    "WITH counts AS MATERIALIZED (SELECT l.counted[n.at + 1] AS lim, l.counted[n.at + 2] AS start,"
    " l.counted[n.at + 3] AS seq, l.counted[n.at + 4] AS amount, l.counted[n.at + 5] AS debt,"
    " l.change, l.amount::numeric + l.debt AS units, l.asked, l.at FROM " ENTRIES " l"
    " CROSS JOIN LATERAL generate_series(0, cardinality(l.counted) - 1, 5) AS n(at)"
    " WHERE l.tenant_id = $1::bigint AND array_position(l.counted, NULL) IS NULL),"
    " entries AS MATERIALIZED (SELECT c.lim, c.start, count(*) AS count,"
    " count(*) = max(c.seq) AND min(c.seq) = 1 AND count(*) = count(DISTINCT c.seq) AS whole,"
    " least(sum(c.amount), " LEDGER_NEVER ")::bigint AS amount,"
    " least(sum(c.debt), " LEDGER_NEVER ")::bigint AS debt,"
    " count(*) FILTER (WHERE c.seq <= s.seq) AS sealed,"
    " least(coalesce(sum(c.amount) FILTER (WHERE c.seq <= s.seq), 0), " LEDGER_NEVER ")::bigint"
    " AS sealed_amount,"
    " least(coalesce(sum(c.debt) FILTER (WHERE c.seq <= s.seq), 0), " LEDGER_NEVER ")::bigint"
    " AS sealed_debt,"
    " coalesce(bool_and(CASE WHEN c.change = 0 THEN c.amount::numeric + c.debt = c.units"
    " ELSE c.amount::numeric + c.debt BETWEEN least(c.asked, 0) AND greatest(c.asked, 0) END"
    " AND extract(epoch FROM c.at) * 1000 > " SQL_MS_OF("clock_timestamp()") " - $4::bigint)"
    " FILTER (WHERE c.seq > coalesce(s.seq, 0)), true) AS sound"
    " FROM counts c LEFT JOIN (SELECT * FROM seal WHERE tenant_id = $1::bigint) s"
    " ON s.limit_id = c.lim AND s.period_start_ms = c.start GROUP BY 1, 2),"
    " holds AS MATERIALIZED (" LEDGER_HOLDS_OF("(SELECT * FROM pg_hold WHERE tenant_id = $1::bigint)") ")"
    " SELECT n.lim, n.start, coalesce((SELECT sum(granted - returned - spent) FROM old_lease o"
    " WHERE o.tenant_id = $1::bigint AND o.limit_id = n.lim AND o.period_start_ms = n.start), 0)::bigint,"
    " coalesce(h.units, 0), coalesce(e.count, 0), coalesce(e.whole, true), coalesce(e.amount, 0),"
    " coalesce(e.debt, 0), coalesce(e.sealed, 0), coalesce(e.sealed_amount, 0), coalesce(e.sealed_debt, 0),"
    " coalesce(e.sound, true), s.number, s.seq, s.amount, s.debt, s.at_ms, s.digest, s.kid, s.code, "
    ROWS_LOSS_WAITS ", " ROWS_QUOTA_COLUMNS
    " FROM (SELECT $1::bigint AS tenant, " SQL_ROWS(2, bigint, lim) ", " SQL_ROWS(3, bigint, start) ") AS n"
    ROWS_OF(quota, ROWS_KEY_QUOTA) " AS q" ROWS_OF(limit_, ROWS_KEY_LIMIT) " AS l"
    " LEFT JOIN LATERAL (SELECT * FROM seal WHERE " ROWS_KEY_QUOTA " OFFSET 0) AS s ON true"
    " LEFT JOIN holds AS h (tenant_id, lim, start, units) ON h.lim = n.lim AND h.start = n.start"
    " LEFT JOIN entries e ON e.lim = n.lim AND e.start = n.start"
    " ORDER BY 1, 2"};
/* clang-format on */

struct looked {
    struct quota_row row; /* as it was seen */
    struct repair_seen seen;
};

struct repairing {
    struct arena *arena;
    const struct ledger_repairing *how;
    struct audit audit;
    /* of the last run */
    struct looked *looked; /* [i]: of keys[i] */
    struct ledger_repaired *out;
    struct book book;
    enum ledger_admin admin;
};

/* --- looking ---------------------------------------------------------------------------------- */

struct sealed {
    int64_t entries, amount, debt; /* of the entries that the seal is of, as they are there now */
};

static enum repair_seal judge_seal(struct chain_signer *signer, const struct chain *chain,
                                   int64_t number, const struct chain_code *code,
                                   const struct sealed *now)
{
    if (chain_verify(signer, chain, number, code) != CHAIN_GENUINE)
        return SEAL_ABSENT;
    return now->entries == chain->seq && now->amount == chain->amount && now->debt == chain->debt
               ? SEAL_PROVES
               : SEAL_REFUTES;
}

static enum repair_seal read_seal(struct sql_row *row, const struct repairing *repairing,
                                  const struct sealed *now, struct chain *chain)
{
    bool has = !sql_is_null(row);
    int64_t number = sql_i64_or(row, 0);
    struct slice digest, text;
    struct chain_code code;

    chain->seq = sql_i64_or(row, 0);
    chain->amount = sql_i64_or(row, 0);
    chain->debt = sql_i64_or(row, 0);
    chain->at_ms = sql_i64_or(row, 0);
    if (!has) {
        for (int i = 0; i < 3; i++)
            sql_skip(row);
        return SEAL_ABSENT;
    }
    digest = sql_text(row);
    code.kid = (uint8_t)sql_i64(row);
    text = sql_text(row);
    row->bad |= digest.len != DIGEST_BYTES || text.len != CHAIN_CODE_BYTES;
    if (row->bad)
        return SEAL_ABSENT;
    memcpy(chain->digest, digest.data, DIGEST_BYTES);
    memcpy(code.code, text.data, CHAIN_CODE_BYTES);
    return judge_seal(repairing->how->signer, chain, number, &code, now);
}

static size_t find_key(const struct ledger_repairing *how, struct quota_ref ref)
{
    size_t i = 0;

    while (i < how->count && !quota_ref_equal(how->keys[i].ref, ref))
        i++;
    return i;
}

static void read_looked(struct sql_row *row, struct repairing *repairing)
{
    const struct ledger_repairing *how = repairing->how;
    struct looked read = {0};
    struct drift_sums *sums = &read.seen.sums;
    struct chain chain = {.tenant_id = how->keys[0].tenant_id, .ref = {.limit_id = sql_i64(row)}};
    struct sealed now;
    int64_t old;
    size_t i;

    chain.ref.period_start_ms = sql_i64(row);
    old = sql_i64(row);
    *sums = (struct drift_sums){.holds_known = true, .entries_known = true};
    sums->holds = sql_i64(row);
    sums->entries = sql_i64(row);
    read.seen.whole = sql_bool(row);
    sums->amount = sql_i64(row);
    sums->debt = sql_i64(row);
    now.entries = sql_i64(row);
    now.amount = sql_i64(row);
    now.debt = sql_i64(row);
    read.seen.unsealed_sound = sql_bool(row);
    read.seen.seal = read_seal(row, repairing, &now, &chain);
    sums->loss_waits = sql_bool(row);
    rows_quota_read(row, &read.row);
    sums->leases = read.row.granted - read.row.returned - read.row.spent + old;
    i = find_key(how, chain.ref);
    row->bad |= i == how->count || !quota_ref_equal(read.row.ref, chain.ref);
    if (row->bad)
        return;
    read.row.shard = how->keys[i].shard;
    read.seen.unsealed = sums->entries - now.entries;
    sums->redis = how->redis[i];
    repairing->looked[i] = read;
    repairing->looked[i].seen.sums.row = &repairing->looked[i].row;
    repairing->out[i].exists = true;
}

static enum status run_look(struct database *db, struct repairing *repairing)
{
    const struct ledger_repairing *how = repairing->how;
    struct sql_params params;
    struct sql_array column;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, repairing->arena);
    sql_add_i64(&params, how->keys[0].tenant_id);
    column = sql_array_begin(&params, SQL_BIGINT, how->count, 0);
    for (size_t i = 0; i < how->count; i++)
        sql_array_i64(&column, how->keys[i].ref.limit_id);
    column = sql_array_begin(&params, SQL_BIGINT, how->count, 0);
    for (size_t i = 0; i < how->count; i++)
        sql_array_i64(&column, how->keys[i].ref.period_start_ms);
    sql_add_i64(&params, SEAL_STUCK_MS);
    status = database_run(db, &look, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, repairing->arena); sql_next(&row);)
        read_looked(&row, repairing);
    return sql_done(&row);
}

/* --- repairing -------------------------------------------------------------------------------- */

static enum status is_alone(struct database *db, bool *ret)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &alone, NULL, &result);

    *ret = false;
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, NULL); sql_next(&row);)
        *ret = sql_bool(&row);
    return sql_done(&row);
}

/* The rows of what differs. */
static enum status lock_rows(struct database *db, struct repairing *repairing)
{
    const struct ledger_repairing *how = repairing->how;
    struct rows_ref *refs = arena_array(repairing->arena, how->count, sizeof(*refs));
    struct drift drifts[DRIFT_KINDS];
    size_t count = 0;

    repairing->book = (struct book){.arena = repairing->arena};
    if (!refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < how->count; i++)
        if (repairing->out[i].exists && drift_find(&repairing->looked[i].seen.sums, drifts) > 0)
            refs[count++] = (struct rows_ref){how->keys[i].tenant_id, how->keys[i].ref};
    count = rows_refs_sort(refs, count);
    return count > 0 ? rows_lock_as_they_are(db, &repairing->book, refs, count) : STATUS_OK;
}

/* Something was changed, and will be: what was asked before is only looked at again. */
static bool is_to_be_audited(const struct repairing *repairing, const struct repair *repair)
{
    return repairing->admin == ADMIN_DONE && repair->done &&
           memcmp(&repair->before, &repair->after, sizeof(repair->before)) != 0;
}

static struct slice numbers_json(struct arena *arena, const struct repair *repair,
                                 const struct repair_numbers *numbers)
{
    char *text =
        arena_printf(arena,
                     "{\"kind\": \"%s\", \"committed\": %" PRId64 ", \"debt\": %" PRId64
                     ", \"pg_held\": %" PRId64 ", \"leased\": %" PRId64 ", \"lease_id\": %" PRId64
                     ", \"granted\": %" PRId64 ", \"returned\": %" PRId64 ", \"spent\": %" PRId64
                     ", \"ledger_seq\": %" PRId64 "}",
                     drift_kind_name(repair->drift.kind), numbers->committed, numbers->debt,
                     numbers->pg_held, numbers->leased, numbers->lease_id, numbers->granted,
                     numbers->returned, numbers->spent, numbers->ledger_seq);

    CHECK(text);
    return slice_from_cstr(text);
}

/* The request id is in the first row: there can be no second one with it. */
static enum status write_audit(struct database *db, struct repairing *repairing,
                               const struct ledger_repaired *one, const struct repair *repair)
{
    enum status status;

    repairing->audit.object = one->row.limit_name;
    status = audit_write(db, repairing->arena, &repairing->audit,
                         numbers_json(repairing->arena, repair, &repair->before),
                         numbers_json(repairing->arena, repair, &repair->after));
    repairing->audit.note.request_id = slice_of(NULL, 0);
    return status;
}

static enum status repair_all(struct database *db, struct repairing *repairing)
{
    const struct ledger_repairing *how = repairing->how;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < how->count; i++) {
        struct ledger_repaired *one = &repairing->out[i];
        struct quota_row *quota =
            one->exists
                ? book_find_quota(&repairing->book, how->keys[i].tenant_id, how->keys[i].ref)
                : NULL;

        one->row = repairing->looked[i].row;
        if (!quota)
            continue;
        repair_quota(&repairing->book, quota, &repairing->looked[i].seen, &one->repaired);
        quota->shard = how->keys[i].shard;
        one->row = *quota;
    }
    status = rows_write(db, &repairing->book);
    for (size_t i = 0; i < how->count && status == STATUS_OK; i++)
        status = rows_leases_insert(db, repairing->arena, repairing->out[i].repaired.begun,
                                    repairing->out[i].repaired.begun_count);
    for (size_t i = 0; i < how->count && status == STATUS_OK; i++)
        for (size_t k = 0; k < repairing->out[i].repaired.count && status == STATUS_OK; k++)
            if (is_to_be_audited(repairing, &repairing->out[i].repaired.repairs[k]))
                status = write_audit(db, repairing, &repairing->out[i],
                                     &repairing->out[i].repaired.repairs[k]);
    return status;
}

static enum status repair_body(struct database *db, void *user)
{
    struct repairing *repairing = user;
    size_t count = repairing->how->count;
    bool on, made;
    enum status status = is_alone(db, &on);

    memset(repairing->looked, 0, count * sizeof(*repairing->looked));
    memset(repairing->out, 0, count * sizeof(*repairing->out));
    repairing->audit.note = repairing->how->note;
    if (status != STATUS_OK || !on)
        return status == STATUS_OK ? STATUS_CONFLICT : status;
    status = run_look(db, repairing);
    if (status == STATUS_OK)
        status = audit_find(db, repairing->arena, &repairing->audit, &repairing->admin, &made);
    if (status != STATUS_OK || repairing->admin == ADMIN_REQUEST_REUSED)
        return status;
    status = lock_rows(db, repairing);
    if (status == STATUS_OK)
        status = repair_all(db, repairing);
    return status == STATUS_OK &&
                   (repairing->how->validate_only || repairing->admin == ADMIN_REPEATED)
               ? STATUS_CANCELLED
               : status;
}

static void tell_log(const struct repairing *repairing)
{
    for (size_t i = 0; i < repairing->how->count; i++) {
        const struct ledger_repaired *one = &repairing->out[i];

        for (size_t k = 0; k < one->repaired.count; k++) {
            const struct repair *repair = &one->repaired.repairs[k];

            log_warn("ledger",
                     "drift.%s tenant=%.*s limit_id=%" PRId64 " period_start_ms=%" PRId64
                     " kind=%s units=%" PRId64 ": %s",
                     repair->done ? "repaired" : "refused", SLICE_ARGS(repairing->how->tenant),
                     one->row.ref.limit_id, one->row.ref.period_start_ms,
                     drift_kind_name(repair->drift.kind), repair->drift.units, repair->what);
        }
    }
}

/* What was decided was taken back: the request has had its effect before, or is another one. */
static void undo(const struct repairing *repairing)
{
    for (size_t i = 0; i < repairing->how->count; i++) {
        struct repaired *repaired = &repairing->out[i].repaired;

        for (size_t k = 0; k < repaired->count; k++) {
            repaired->repairs[k].done = false;
            repaired->repairs[k].what =
                "a repair with this request_id was made before: nothing was changed; use a new one";
        }
    }
}

enum status ledger_repair(struct database *db, struct arena *arena,
                          const struct ledger_repairing *how, struct ledger_repaired **ret,
                          enum ledger_admin *ret_admin)
{
    struct repairing repairing = {
        .arena = arena,
        .how = how,
        .looked = arena_array(arena, how->count + 1, sizeof(struct looked)),
        .out = arena_array(arena, how->count + 1, sizeof(struct ledger_repaired)),
        .audit = {.action = SLICE("drift.repair")},
    };
    char *content = arena_printf(arena, "drift.repair|%.*s", SLICE_ARGS(how->tenant));
    enum status status;

    *ret_admin = ADMIN_DONE;
    *ret = repairing.out;
    if (!repairing.looked || !repairing.out || !content)
        return STATUS_EXHAUSTED;
    if (how->count == 0)
        return STATUS_OK;
    repairing.audit.tenant_id = how->keys[0].tenant_id;
    repairing.audit.content = slice_from_cstr(content);
    status = database_transact(db, repair_body, &repairing);
    if (status != STATUS_OK && status != STATUS_CANCELLED)
        return status;
    if (repairing.admin == ADMIN_REPEATED)
        undo(&repairing);
    if (status == STATUS_OK && repairing.admin == ADMIN_DONE)
        tell_log(&repairing);
    *ret_admin = repairing.admin;
    return STATUS_OK;
}
