/*
 * Two cursors side by side, both in the order of limits and periods: what is said of each quota (its row,
 * its leases, its seal), and the entries that are counted against it in the order of their numbers.
 */
#include "ledger/verify.h"

#include "ledger/entries.h"
#include "ledger/ledger.h"
#include "ledger/reconcile.h"
#include "ledger/rows.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FETCH_ROWS 2000

/* clang-format off */
static const struct statement one_state = {
    "verify_state", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"};

static const struct statement settings = {
    "verify_settings", "SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)"};

static const struct statement find_tenant = {
    "verify_tenant",
    "SELECT t.tenant_id, (SELECT sealed_to_ms FROM seal_state), h.seals, h.kid, h.code,"
    " (SELECT count(*) FROM seal s WHERE s.tenant_id = t.tenant_id),"
    " (SELECT coalesce(max(number), 0) FROM seal s WHERE s.tenant_id = t.tenant_id)"
    " FROM tenant t LEFT JOIN seal_head h USING (tenant_id) WHERE t.name = $1::text"};

/* The first columns of both: which quota. */
static const struct statement open_quotas = {
    "verify_open_quotas",
    "DECLARE verify_quotas NO SCROLL CURSOR FOR SELECT limit_id, period_start_ms,"
    " coalesce((SELECT name FROM limit_ l WHERE l.tenant_id = $1::bigint AND l.limit_id = k.limit_id), '?'),"
    " q.ledger_seq, q.committed, q.debt, q.pg_held, coalesce(h.units, 0), q.leased,"
    " q.granted - q.returned - q.spent + (SELECT"
    " coalesce(sum(granted - returned - spent), 0)::bigint FROM old_lease o"
    " WHERE o.tenant_id = $1::bigint AND o.limit_id = k.limit_id AND o.period_start_ms = k.period_start_ms),"
    " s.number, s.seq, s.amount, s.debt, s.at_ms, s.gap_seq, s.digest, s.kid, s.code"
    " FROM (SELECT limit_id, period_start_ms FROM quota WHERE tenant_id = $1::bigint"
    " UNION SELECT limit_id, period_start_ms FROM seal WHERE tenant_id = $1::bigint) k"
    " LEFT JOIN (SELECT * FROM quota WHERE tenant_id = $1::bigint) q USING (limit_id, period_start_ms)"
    " LEFT JOIN (" LEDGER_HOLDS_OF("(SELECT * FROM pg_hold WHERE tenant_id = $1::bigint)") ") AS"
    " h (tenant_id, limit_id, period_start_ms, units) USING (limit_id, period_start_ms)"
    " LEFT JOIN (SELECT * FROM seal WHERE tenant_id = $1::bigint) s USING (limit_id, period_start_ms)"
    " ORDER BY limit_id, period_start_ms"};

static const struct statement open_entries = {
    "verify_open_entries",
    "DECLARE verify_entries NO SCROLL CURSOR FOR SELECT l.counted[n.at + 1], l.counted[n.at + 2],"
    " l.counted[n.at + 3], n.at, " ENTRIES_COLUMNS " FROM " ENTRIES " l CROSS JOIN LATERAL"
    " generate_series(0, cardinality(l.counted) - 1, 5) AS n(at) WHERE l.tenant_id = $1::bigint"
    " ORDER BY 1, 2, 3"};

static const struct statement fetch_quotas = {
    "verify_fetch_quotas", "FETCH " TEXT_OF(FETCH_ROWS) " FROM verify_quotas"};
static const struct statement fetch_entries = {
    "verify_fetch_entries", "FETCH " TEXT_OF(FETCH_ROWS) " FROM verify_entries"};
/* clang-format on */

/* What is said of a quota. */
struct said {
    struct quota_ref ref;
    struct slice name;
    bool has_row, has_seal;
    int64_t ledger_seq, committed, debt, pg_held, holds, leased, leases;
    int64_t number, gap_seq;
    struct chain chain; /* as it was sealed */
    struct chain_code code;
};

struct counted {
    struct quota_ref ref;
    int64_t seq;
    size_t index; /* among the entry's quotas */
    struct chain_entry entry;
};

/* Rows of one cursor, some at a time. */
struct feed {
    const struct statement *fetch;
    struct arena arena; /* of the rows that were fetched last */
    size_t count, at;
    bool ended;
    struct said *saids;
    struct counted *entries;
};

struct verify {
    const struct ledger_verifying *how;
    struct ledger_verified *out;
    struct digest *digest;
    int64_t tenant_id, sealed_to_ms;
    struct feed quotas, entries;
    /* the quota that is looked at */
    const struct said *said;
    struct chain chain; /* of its entries so far */
    bool wrong;
    char odd[VERIFY_TEXT_BYTES]; /* the first entry that contradicts itself; "" */
};

/* --- reading ---------------------------------------------------------------------------------- */

static void read_said(struct sql_row *row, const struct verify *verify, struct said *said)
{
    struct slice digest, code;

    *said = (struct said){.ref = {.limit_id = sql_i64(row)}};
    said->ref.period_start_ms = sql_i64(row);
    said->name = sql_text(row);
    said->has_row = !sql_is_null(row);
    said->ledger_seq = sql_i64_or(row, 0);
    said->committed = sql_i64_or(row, 0);
    said->debt = sql_i64_or(row, 0);
    said->pg_held = sql_i64_or(row, 0);
    said->holds = sql_i64(row);
    said->leased = sql_i64_or(row, 0);
    said->leases = sql_i64_or(row, 0);
    said->has_seal = !sql_is_null(row);
    said->number = sql_i64_or(row, 0);
    said->chain = (struct chain){.tenant_id = verify->tenant_id, .ref = said->ref};
    said->chain.seq = sql_i64_or(row, 0);
    said->chain.amount = sql_i64_or(row, 0);
    said->chain.debt = sql_i64_or(row, 0);
    said->chain.at_ms = sql_i64_or(row, 0);
    said->gap_seq = sql_i64_or(row, 0);
    if (!said->has_seal) {
        for (int i = 0; i < 3; i++)
            sql_skip(row);
        return;
    }
    digest = sql_text(row);
    said->code.kid = (uint8_t)sql_i64(row);
    code = sql_text(row);
    row->bad |= digest.len != DIGEST_BYTES || code.len != CHAIN_CODE_BYTES;
    if (row->bad)
        return;
    memcpy(said->chain.digest, digest.data, DIGEST_BYTES);
    memcpy(said->code.code, code.data, CHAIN_CODE_BYTES);
}

static void read_counted(struct sql_row *row, struct counted *counted)
{
    *counted = (struct counted){.ref = {.limit_id = sql_i64(row)}};
    counted->ref.period_start_ms = sql_i64(row);
    counted->seq = sql_i64(row);
    counted->index = (size_t)sql_i64(row) / CHAIN_NUMBERS;
    entries_read(row, &counted->entry);
}

/* On to the next row; *ret_more false: there is none. */
static enum status next(struct database *db, struct verify *verify, struct feed *feed,
                        bool *ret_more)
{
    bool entries = feed == &verify->entries;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_more = true;
    if (feed->count > 0 && ++feed->at < feed->count)
        return STATUS_OK;
    *ret_more = false;
    if (feed->ended)
        return STATUS_OK;
    status = database_run(db, feed->fetch, NULL, &result);
    if (status != STATUS_OK)
        return status;
    arena_reset(&feed->arena);
    row = sql_rows(result, &feed->arena);
    feed->at = feed->count = 0;
    if (entries)
        feed->entries = arena_array(&feed->arena, sql_count(&row), sizeof(*feed->entries));
    else
        feed->saids = arena_array(&feed->arena, sql_count(&row), sizeof(*feed->saids));
    row.bad = entries ? !feed->entries : !feed->saids;
    while (sql_next(&row)) {
        if (entries)
            read_counted(&row, &feed->entries[feed->count++]);
        else
            read_said(&row, verify, &feed->saids[feed->count++]);
    }
    feed->ended = feed->count == 0;
    *ret_more = feed->count > 0;
    return sql_done(&row);
}

/* --- what is wrong ---------------------------------------------------------------------------- */

/* Only the first of a quota: what follows may be its consequence. */
static void wrong(struct verify *verify, const char *format, ...) PRINTF_LIKE(2, 3);
static void wrong(struct verify *verify, const char *format, ...)
{
    struct ledger_verified *out = verify->out;
    const struct said *said = verify->said;
    char start[32] = "ever", *text;
    time_t second;
    struct tm utc;
    va_list args;
    int used = 0;

    if (verify->wrong)
        return;
    verify->wrong = true;
    out->wrong++;
    if (out->found_count == VERIFY_FOUND_MAX)
        return;
    text = out->found[out->found_count++];
    if (said) {
        second = (time_t)(said->ref.period_start_ms / SECOND_IN_MS);
        if (said->ref.period_start_ms > 0 &&
            (!gmtime_r(&second, &utc) ||
             strftime(start, sizeof(start), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0))
            snprintf(start, sizeof(start), "%" PRId64 " ms", said->ref.period_start_ms);
        used = snprintf(text, VERIFY_TEXT_BYTES,
                        "limit \"%.*s\", period from %s: ", SLICE_ARGS(said->name), start);
    }
    va_start(args, format);
    vsnprintf(text + used, VERIFY_TEXT_BYTES - (size_t)used, format, args);
    va_end(args);
}

/* Of numbers that may be anything. */
static int64_t units(int64_t amount, int64_t debt)
{
    return (int64_t)((uint64_t)amount + (uint64_t)debt);
}

/* It counts against a quota what was asked, or less where a closed period had some of it. */
static void note_odd_change(struct verify *verify, const struct counted *counted)
{
    const struct chain_entry *entry = &counted->entry;
    struct chain_counted of = chain_counted(entry, counted->index);
    int64_t counts = units(of.amount, of.debt);

    if (entry->asked < 0 ? counts > 0 || counts < entry->asked
                         : counts < 0 || counts > entry->asked)
        snprintf(verify->odd, sizeof(verify->odd),
                 "entry %" PRId64 ", change %" PRId64 " of job \"%.*s\" by %" PRId64
                 " units, counts %" PRId64,
                 counted->seq, entry->entry, SLICE_ARGS(entry->job_id), entry->asked, counts);
}

/* The entry by itself: no proof is needed where it contradicts itself. */
static void note_odd(struct verify *verify, const struct counted *counted)
{
    const struct chain_entry *entry = &counted->entry;
    struct chain_counted of = chain_counted(entry, counted->index);

    if (verify->odd[0])
        return;
    if (entry->change.kind != 0) {
        note_odd_change(verify, counted);
        return;
    }
    if (units(of.amount, of.debt) != units(entry->amount, entry->debt))
        snprintf(verify->odd, sizeof(verify->odd),
                 "entry %" PRId64 ", job \"%.*s\", has %" PRId64 " units and counts %" PRId64,
                 counted->seq, SLICE_ARGS(entry->job_id), units(entry->amount, entry->debt),
                 units(of.amount, of.debt));
    else if (entry->at_ms < verify->chain.at_ms)
        snprintf(verify->odd, sizeof(verify->odd),
                 "entry %" PRId64 ", job \"%.*s\", is older than the one before it", counted->seq,
                 SLICE_ARGS(entry->job_id));
}

static void check_sealed(struct verify *verify)
{
    const struct said *said = verify->said;
    const struct chain *is = &verify->chain, *was = &said->chain;

    if (is->seq != was->seq || !said->has_seal)
        return;
    if (memcmp(is->digest, was->digest, DIGEST_BYTES) == 0 && is->amount == was->amount &&
        is->debt == was->debt && is->at_ms == was->at_ms)
        return;
    if (verify->odd[0])
        wrong(verify, "%s; it is not what was sealed", verify->odd);
    else
        wrong(verify, "of entries 1 to %" PRId64 " at least one is not what was sealed", is->seq);
}

static void check_entry(struct verify *verify, const struct counted *counted)
{
    struct slice job = counted->entry.job_id;
    int64_t expected = verify->chain.seq + 1;

    verify->out->entries++;
    if (verify->wrong)
        return;
    if (counted->seq < expected) {
        wrong(verify, "number %" PRId64 " stands twice, the second time with job \"%.*s\"",
              counted->seq, SLICE_ARGS(job));
        return;
    }
    if (counted->seq > expected) {
        wrong(verify, "entry %" PRId64 " is missing; the next one is %" PRId64 ", job \"%.*s\"",
              expected, counted->seq, SLICE_ARGS(job));
        return;
    }
    note_odd(verify, counted);
    chain_add(&verify->chain, verify->digest, &counted->entry, counted->index);
    check_sealed(verify);
    if (counted->seq > verify->said->chain.seq) {
        verify->out->unsealed++;
        if (counted->entry.at_ms < verify->sealed_to_ms && verify->said->gap_seq == 0)
            wrong(verify, "entry %" PRId64 ", job \"%.*s\", is old and not sealed", counted->seq,
                  SLICE_ARGS(job));
    }
}

static void check_signature(struct verify *verify)
{
    const struct said *said = verify->said;

    if (!said->has_seal)
        return;
    verify->out->seals++;
    switch (chain_verify(verify->how->signer, &said->chain, said->number, &said->code)) {
    case CHAIN_GENUINE:
        return;
    case CHAIN_FORGED:
        wrong(verify, "its seal, number %" PRId64 ", was not written by this service",
              said->number);
        return;
    case CHAIN_UNKNOWN_KEY:
        if (said->code.kid == 0)
            wrong(verify, "its seal, number %" PRId64 ", was not genuine when it was to go on",
                  said->number);
        wrong(verify, "its seal, number %" PRId64 ", is signed by key %u, which is not here",
              said->number, said->code.kid);
    }
}

/* After its last entry. */
static void check_sums(struct verify *verify)
{
    const struct said *said = verify->said;
    const struct chain *chain = &verify->chain;

    if (said->chain.seq > chain->seq)
        wrong(verify, "entry %" PRId64 " is missing, and all after it; %" PRId64 " were sealed",
              chain->seq + 1, said->chain.seq);
    if (!said->has_row)
        return;
    if (said->ledger_seq != chain->seq)
        wrong(verify,
              said->ledger_seq > chain->seq
                  ? "entry %" PRId64 " is missing, and all after it; the quota counts %" PRId64
                  : "%" PRId64 " entries are there, the quota counts %" PRId64,
              chain->seq + (said->ledger_seq > chain->seq), said->ledger_seq);
    if (said->committed != chain->amount)
        wrong(verify, "committed is %" PRId64 ", the entries add up to %" PRId64, said->committed,
              chain->amount);
    if (said->debt != chain->debt)
        wrong(verify, "debt is %" PRId64 ", the entries add up to %" PRId64, said->debt,
              chain->debt);
    if (said->pg_held != said->holds)
        wrong(verify, "held in Postgres is %" PRId64 ", its holds add up to %" PRId64,
              said->pg_held, said->holds);
    if (said->leased != said->leases)
        wrong(verify, "leased is %" PRId64 ", its leases add up to %" PRId64, said->leased,
              said->leases);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void begin_quota(struct verify *verify, const struct said *said)
{
    verify->said = said;
    verify->wrong = false;
    verify->odd[0] = '\0';
    chain_begin(&verify->chain, verify->digest, verify->tenant_id, said->ref);
    verify->out->quotas++;
    check_signature(verify);
}

/* Entries of a quota that nothing else knows. */
static void check_orphan(struct verify *verify, const struct counted *counted)
{
    verify->said = NULL;
    verify->wrong = false;
    verify->out->entries++;
    wrong(verify,
          "job \"%.*s\" counts against limit number %" PRId64 ", period %" PRId64
          ", which has neither quota nor seal",
          SLICE_ARGS(counted->entry.job_id), counted->ref.limit_id, counted->ref.period_start_ms);
}

static enum status next_entry(struct database *db, struct verify *verify,
                              const struct counted **ret)
{
    bool more;
    enum status status = next(db, verify, &verify->entries, &more);

    *ret = status == STATUS_OK && more ? &verify->entries.entries[verify->entries.at] : NULL;
    if (*ret && verify->entries.at == 0 && verify->how->progress &&
        !verify->how->progress(verify->how->user, verify->out))
        return STATUS_CANCELLED;
    return status;
}

static enum status walk(struct database *db, struct verify *verify)
{
    const struct counted *counted;
    bool more = false;
    enum status status = next_entry(db, verify, &counted);

    if (status == STATUS_OK)
        status = next(db, verify, &verify->quotas, &more);
    while (status == STATUS_OK && more) {
        const struct said *said = &verify->quotas.saids[verify->quotas.at];

        for (; status == STATUS_OK && counted && quota_ref_compare(counted->ref, said->ref) < 0;
             status = next_entry(db, verify, &counted))
            check_orphan(verify, counted);
        begin_quota(verify, said);
        for (; status == STATUS_OK && counted && quota_ref_equal(counted->ref, said->ref);
             status = next_entry(db, verify, &counted))
            check_entry(verify, counted);
        if (status != STATUS_OK)
            break;
        check_sums(verify);
        status = next(db, verify, &verify->quotas, &more);
    }
    for (; status == STATUS_OK && counted; status = next_entry(db, verify, &counted))
        check_orphan(verify, counted);
    return status;
}

static void check_head(struct verify *verify, bool has_head, int64_t seals, int64_t there,
                       int64_t newest, const struct chain_code *code)
{
    verify->said = NULL;
    verify->wrong = false;
    if (!has_head && there > 0)
        wrong(verify, "there are %" PRId64 " seals, and nothing signed that says so", there);
    if (!has_head)
        return;
    if (chain_verify_head(verify->how->signer, verify->tenant_id, seals, code) != CHAIN_GENUINE)
        wrong(verify, "the number of seals, %" PRId64 ", is not signed by a key that is here",
              seals);
    if (there != seals || newest != seals)
        wrong(verify, "there are %" PRId64 " seals up to number %" PRId64 ", signed are %" PRId64,
              there, newest, seals);
}

/* False: there is no such tenant, or it could not be read. */
static enum status open_tenant(struct database *db, struct verify *verify, struct arena *arena)
{
    struct chain_code code = {0};
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_text(&params, verify->how->tenant);
    status = database_run(db, &find_tenant, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, arena); sql_next(&row);) {
        bool has_head;
        int64_t seals, there;
        struct slice text = {0};

        verify->tenant_id = sql_i64(&row);
        verify->sealed_to_ms = sql_i64_or(&row, 0);
        has_head = !sql_is_null(&row);
        seals = sql_i64_or(&row, 0);
        code.kid = (uint8_t)sql_i64_or(&row, 0);
        if (has_head)
            text = sql_text(&row);
        else
            sql_skip(&row);
        row.bad |= has_head && text.len != CHAIN_CODE_BYTES;
        if (!row.bad && has_head)
            memcpy(code.code, text.data, CHAIN_CODE_BYTES);
        there = sql_i64(&row);
        verify->out->tenant_exists = true;
        check_head(verify, has_head, seals, there, sql_i64(&row), &code);
    }
    return sql_done(&row);
}

static enum status open_cursors(struct database *db, struct verify *verify, struct arena *arena)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, verify->tenant_id);
    status = database_run(db, &open_quotas, &params, NULL);
    return status == STATUS_OK ? database_run(db, &open_entries, &params, NULL) : status;
}

static enum status read_all(struct database *db, struct verify *verify)
{
    struct arena arena;
    enum status status = database_begin(db);

    arena_init(&arena, 4096, SIZE_MAX / 2);
    if (status == STATUS_OK)
        status = database_run(db, &one_state, NULL, NULL);
    if (status == STATUS_OK)
        status = database_run(db, &settings, NULL, NULL);
    if (status == STATUS_OK)
        status = open_tenant(db, verify, &arena);
    if (status == STATUS_OK && verify->out->tenant_exists) {
        status = open_cursors(db, verify, &arena);
        if (status == STATUS_OK)
            status = walk(db, verify);
    }
    database_rollback(db);
    arena_done(&arena);
    return status;
}

enum status ledger_verify(struct database *db, const struct ledger_verifying *how,
                          struct ledger_verified *ret)
{
    struct verify verify = {.how = how,
                            .out = ret,
                            .digest = digest_create(),
                            .quotas = {.fetch = &fetch_quotas},
                            .entries = {.fetch = &fetch_entries}};
    enum status status;

    *ret = (struct ledger_verified){0};
    arena_init(&verify.quotas.arena, 256 * 1024, SIZE_MAX / 2);
    arena_init(&verify.entries.arena, 1024 * 1024, SIZE_MAX / 2);
    status = read_all(db, &verify);
    arena_done(&verify.quotas.arena);
    arena_done(&verify.entries.arena);
    digest_destroy(verify.digest);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}
