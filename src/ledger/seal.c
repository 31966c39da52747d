/*
 * Sealing: what is new in the ledger goes into the chains of its quotas (quota/chain.h).
 *
 *     when     a moment is safe if every transaction that had begun by then has ended: no entry of before
 *              it can still appear, because a Commit reads the clock after it has its transaction id
 *     lock     the row of seal_state: two sealers do nothing twice, the second one goes away
 *     read     entries from where the last one stopped to the safe moment, at most SEAL_ROWS_MAX
 *              and SEAL_BYTES_MAX
 *     chain    each quota's entries in the order of their numbers, on to its seal
 *     write    seals, heads of tenants, where it stopped; COMMIT
 *
 * All in one transaction: whoever dies leaves nothing or all of it. No lock of a Commit is touched.
 *
 * An entry whose number is missing stops its quota's chain: a gap, for which the quota's entries are read
 * again once a minute, in a transaction of its own. A clock that was put back makes one that closes; an entry
 * that is lost, one that stays. A seal or a head that is not genuine goes on unsigned, so that it shows for
 * ever; a chain whose seal was signed by a key that is not here waits for the key, as in a gap.
 */
#include "base/fault.h"
#include "base/hex.h"
#include "base/log.h"
#include "ledger/entries.h"
#include "ledger/ledger.h"
#include "ledger/rows.h"
#include "ledger/seal_ranges.h"
#include "ledger/seal_when.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    SEAL_ROWS_MAX = 10000, /* more than the entries of one transaction */
    SEAL_GAPS_MAX = 4,     /* looked for in one turn */
};

/* What is digested in one transaction, or a little more: well below a second, and TRANSACTION_IDLE_MS. */
#define SEAL_BYTES_MAX (INT64_C(16) << 20)

/* Of an entry beside its numbers and texts. */
#define ENTRY_BYTES 256

/* Of what was not genuine; no key has it. */
#define UNSIGNED_KID 0

#define WINDOW_FIRST_MS (60 * SECOND_IN_MS)
#define WINDOW_MAX_MS (INT64_C(1) << 42)

/* Entries of one moment are read whole. */
#define MOMENT_MS INT64_C(1)

/* How far a clock may have been put back for a gap to close by itself. */
#define GAP_BACK_MS HOUR_IN_MS

/* clang-format off */
/* Without an entry there is nothing to catch up on, a turn for each doubling of the window since 1970. */
static const struct statement lock_state = {
    "seal_lock",
    "SELECT sealed_to_ms, sealed_to_ms = 0 AND NOT EXISTS (SELECT FROM ledger) FROM seal_state"
    " FOR UPDATE SKIP LOCKED"};

/* The time of entries has a BRIN, which only a bitmap can use. */
static const struct statement plan_settings = {
    "seal_settings",
    "SELECT set_config('enable_bitmapscan', 'on', true), set_config('enable_seqscan', 'off', true)"};

/* An entry that a hand has made unreadable is left out: it shows as a gap of its quota. */
#define READABLE "array_position(l.counted, NULL) IS NULL"

static const struct statement read_window = {
    "seal_read",
    "SELECT " ENTRIES_COLUMNS " FROM " ENTRIES " l WHERE l.at >= $1::timestamptz AND l.at < $2::timestamptz"
    " AND " READABLE " LIMIT $3::bigint"};

/* Of one quota, from the first that is not sealed on. */
static const struct statement read_gap = {
    "seal_read_gap",
    "SELECT " ENTRIES_COLUMNS " FROM " ENTRIES " l CROSS JOIN LATERAL (SELECT l.counted[n.at + 3] AS seq"
    " FROM generate_series(0, cardinality(l.counted) - 1, 5) AS n(at) WHERE l.counted[n.at + 1] = $4::bigint"
    " AND l.counted[n.at + 2] = $5::bigint) s WHERE l.tenant_id = $1::bigint AND l.at >= $2::timestamptz"
    " AND s.seq > $6::bigint AND " READABLE " ORDER BY s.seq LIMIT $3::bigint"};

/* Marked before they are looked for: one that takes too long is the last one the next time. */
static const struct statement find_gaps = {
    "seal_find_gaps",
    "UPDATE seal s SET gap_looked_ms = $3::bigint FROM (SELECT tenant_id, limit_id, period_start_ms FROM seal"
    " WHERE gap_seq > 0 AND gap_looked_ms < $1::bigint ORDER BY gap_looked_ms LIMIT $2::bigint OFFSET 0) g"
    " WHERE s.tenant_id = g.tenant_id AND s.limit_id = g.limit_id AND s.period_start_ms = g.period_start_ms"
    " RETURNING s.tenant_id, s.limit_id, s.period_start_ms, s.at_ms, s.seq"};

static const struct statement gap_settings = {
    "seal_gap_settings",
    "SELECT set_config('statement_timeout', '" TEXT_OF(SEAL_GAP_MS) "', true)"};

#define READ_SEALS(rows)                                                                           \
    "SELECT s.tenant_id, s.limit_id, s.period_start_ms, s.number, s.seq, s.amount, s.debt, s.at_ms,"\
    " s.digest, s.kid, s.code, s.gap_seq FROM " ROWS_REFS(rows) " CROSS JOIN LATERAL"              \
    " (SELECT * FROM seal WHERE tenant_id = n.tenant AND limit_id = n.lim"                         \
    " AND period_start_ms = n.start OFFSET 0) s"
static const struct statement read_seals[] = SQL_FORMS("seal_read_seals", READ_SEALS);

static const struct statement read_heads = {
    "seal_read_heads",
    "SELECT tenant_id, seals, kid, code FROM seal_head WHERE tenant_id = ANY ($1::bigint[])"};

static const struct statement write_seals = {
    "seal_write_seals",
    "INSERT INTO seal (tenant_id, limit_id, period_start_ms, number, seq, amount, debt, at_ms, kid,"
    " gap_seq, gap_looked_ms, digest, code) SELECT n.tenant, n.lim, n.start, n.number, n.seq, n.amount,"
    " n.debt, n.at_ms, n.kid, n.gap_seq, n.gap_looked_ms, decode(n.digest, 'hex'), decode(n.code, 'hex')"
    " FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, lim) ", "
    SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, number) ", " SQL_ROWS(5, bigint, seq) ", "
    SQL_ROWS(6, bigint, amount) ", " SQL_ROWS(7, bigint, debt) ", " SQL_ROWS(8, bigint, at_ms) ", "
    SQL_ROWS(9, bigint, kid) ", " SQL_ROWS(10, bigint, gap_seq) ", "
    SQL_ROWS(11, bigint, gap_looked_ms) ", " SQL_ROWS(12, text, digest) ", " SQL_ROWS(13, text, code)
    ") AS n ON CONFLICT (tenant_id, limit_id, period_start_ms) DO UPDATE SET seq = EXCLUDED.seq,"
    " amount = EXCLUDED.amount, debt = EXCLUDED.debt, at_ms = EXCLUDED.at_ms, kid = EXCLUDED.kid,"
    " gap_seq = EXCLUDED.gap_seq, gap_looked_ms = EXCLUDED.gap_looked_ms, digest = EXCLUDED.digest,"
    " code = EXCLUDED.code"};

static const struct statement write_heads = {
    "seal_write_heads",
    "INSERT INTO seal_head (tenant_id, seals, kid, code) SELECT n.tenant, n.seals, n.kid,"
    " decode(n.code, 'hex') FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, seals)
    ", " SQL_ROWS(3, bigint, kid) ", " SQL_ROWS(4, text, code) ") AS n"
    " ON CONFLICT (tenant_id) DO UPDATE SET seals = EXCLUDED.seals, kid = EXCLUDED.kid,"
    " code = EXCLUDED.code"};

static const struct statement write_state = {
    "seal_write_state", "UPDATE seal_state SET sealed_to_ms = $1::bigint"};
/* clang-format on */

/* One entry as one of its quotas sees it. */
struct item {
    const struct chain_entry *entry;
    size_t counted;
    struct rows_ref ref;
    int64_t seq;
};

/* A quota whose chain goes on. */
struct work {
    struct rows_ref ref;
    struct chain chain;
    int64_t number; /* of its seal; 0: it has none yet */
    int64_t gap_seq;
    enum chain_verdict was; /* its seal */
    struct chain_code code;
    bool changed;
};

struct head {
    int64_t tenant_id, seals;
    bool is_signed, changed;
};

struct turn {
    struct ledger_sealing *sealing;
    struct arena *arena;
    int64_t now_ms, safe_ms;
    struct chain_entry *entries;
    size_t entries_count;
    struct item *items;
    size_t items_count;
    struct work *works; /* by ref */
    size_t works_count;
    struct head *heads; /* by tenant */
    size_t heads_count;
};

/* --- reading ---------------------------------------------------------------------------------- */

static enum status take_entries(struct turn *turn, PGresult *result)
{
    struct sql_row row = sql_rows(result, turn->arena);

    turn->entries_count = 0;
    turn->entries = arena_array(turn->arena, sql_count(&row), sizeof(*turn->entries));
    row.bad = !turn->entries;
    while (sql_next(&row))
        entries_read(&row, &turn->entries[turn->entries_count++]);
    return sql_done(&row);
}

static enum status read_between(struct database *db, struct turn *turn, int64_t from_ms,
                                int64_t to_ms, int64_t max)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, turn->arena);
    sql_add_time_ms(&params, from_ms);
    sql_add_time_ms(&params, to_ms);
    sql_add_i64(&params, max);
    status = database_run(db, &read_window, &params, &result);
    return status == STATUS_OK ? take_entries(turn, result) : status;
}

static int item_order(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int order = rows_ref_compare(x->ref, y->ref);

    return order ? order : (x->seq > y->seq) - (x->seq < y->seq);
}

/* An entry is digested once for each quota that it counts against. */
static int64_t bytes_of(const struct chain_entry *entry)
{
    int64_t once = ENTRY_BYTES + (int64_t)(entry->numbers_count * sizeof(int64_t)) +
                   (int64_t)(entry->job_id.len + entry->scope.len + entry->meter.len);

    once += (int64_t)(entry->change.id.len + entry->change.reason.len +
                      entry->change.closed_count * sizeof(int64_t));
    return once * (int64_t)(entry->numbers_count / CHAIN_NUMBERS);
}

static bool is_too_much(const struct turn *turn)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < turn->entries_count; i++)
        bytes += bytes_of(&turn->entries[i]);
    return turn->entries_count > SEAL_ROWS_MAX || bytes > SEAL_BYTES_MAX;
}

/* only: of this quota alone; NULL: of all. */
static bool list_items(struct turn *turn, const struct rows_ref *only)
{
    size_t room = 0;

    for (size_t i = 0; i < turn->entries_count; i++)
        room += turn->entries[i].numbers_count / CHAIN_NUMBERS;
    turn->items_count = 0;
    turn->items = arena_array(turn->arena, room, sizeof(*turn->items));
    if (!turn->items)
        return false;
    for (size_t i = 0; i < turn->entries_count; i++) {
        const struct chain_entry *entry = &turn->entries[i];

        for (size_t k = 0; k < entry->numbers_count / CHAIN_NUMBERS; k++) {
            struct chain_counted counted = chain_counted(entry, k);
            struct rows_ref ref = {entry->tenant_id, counted.ref};

            if (!only || rows_ref_compare(*only, ref) == 0)
                turn->items[turn->items_count++] = (struct item){entry, k, ref, counted.seq};
        }
    }
    if (turn->items_count > 0)
        qsort(turn->items, turn->items_count, sizeof(*turn->items), item_order);
    return true;
}

static int work_order(const void *a, const void *b)
{
    return rows_ref_compare(((const struct work *)a)->ref, ((const struct work *)b)->ref);
}

static struct chain_code read_code(struct sql_row *row)
{
    struct chain_code code = {.kid = (uint8_t)sql_i64(row)};
    struct slice bytes = sql_text(row);

    row->bad |= bytes.len != CHAIN_CODE_BYTES;
    if (!row->bad)
        memcpy(code.code, bytes.data, CHAIN_CODE_BYTES);
    return code;
}

static void read_seal(struct sql_row *row, struct turn *turn)
{
    struct work read = {.ref = {.tenant_id = sql_i64(row)}}, *work;
    struct slice digest;
    struct chain_code code;

    read.ref.ref.limit_id = sql_i64(row);
    read.ref.ref.period_start_ms = sql_i64(row);
    read.number = sql_i64(row);
    read.chain = (struct chain){.tenant_id = read.ref.tenant_id, .ref = read.ref.ref};
    read.chain.seq = sql_i64(row);
    read.chain.amount = sql_i64(row);
    read.chain.debt = sql_i64(row);
    read.chain.at_ms = sql_i64(row);
    digest = sql_text(row);
    code = read_code(row);
    read.gap_seq = sql_i64(row);
    work = bsearch(&read, turn->works, turn->works_count, sizeof(read), work_order);
    row->bad |= digest.len != DIGEST_BYTES || !work;
    if (row->bad)
        return;
    memcpy(read.chain.digest, digest.data, DIGEST_BYTES);
    read.code = code;
    read.was = chain_verify(turn->sealing->signer, &read.chain, read.number, &code);
    if (read.was == CHAIN_UNKNOWN_KEY && code.kid == UNSIGNED_KID)
        read.was = CHAIN_FORGED;
    *work = read;
}

/* The quotas of the items, each with its chain so far. */
static enum status read_works(struct database *db, struct turn *turn)
{
    struct rows_ref *refs = arena_array(turn->arena, turn->items_count, sizeof(*refs));
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    turn->works_count = 0;
    turn->works = arena_array(turn->arena, turn->items_count, sizeof(*turn->works));
    if (!refs || !turn->works)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < turn->items_count; i++) {
        struct rows_ref ref = turn->items[i].ref;

        if (i > 0 && rows_ref_compare(turn->items[i - 1].ref, ref) == 0)
            continue;
        refs[turn->works_count] = ref;
        turn->works[turn->works_count++] = (struct work){.ref = ref, .was = CHAIN_GENUINE};
    }
    for (size_t i = 0; i < turn->works_count; i++)
        chain_begin(&turn->works[i].chain, turn->sealing->digest, refs[i].tenant_id, refs[i].ref);
    sql_params_begin(&params, turn->arena);
    rows_refs_params(&params, refs, turn->works_count);
    status = database_run(db, &read_seals[sql_form(turn->works_count)], &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, turn->arena); sql_next(&row);)
        read_seal(&row, turn);
    return sql_done(&row);
}

static int head_order(const void *a, const void *b)
{
    const struct head *x = a, *y = b;

    return (x->tenant_id > y->tenant_id) - (x->tenant_id < y->tenant_id);
}

static struct head *find_head(struct turn *turn, int64_t tenant_id)
{
    struct head wanted = {.tenant_id = tenant_id};

    return bsearch(&wanted, turn->heads, turn->heads_count, sizeof(wanted), head_order);
}

static void read_head(struct sql_row *row, struct turn *turn)
{
    int64_t tenant_id = sql_i64(row), seals = sql_i64(row);
    struct chain_code code = read_code(row);
    struct head *head = find_head(turn, tenant_id);

    row->bad |= !head;
    if (row->bad)
        return;
    head->seals = seals;
    head->is_signed =
        chain_verify_head(turn->sealing->signer, tenant_id, seals, &code) == CHAIN_GENUINE;
}

/* Of the tenants that get a new seal. */
static enum status read_all_heads(struct database *db, struct turn *turn)
{
    int64_t *tenants = arena_array(turn->arena, turn->works_count, sizeof(*tenants));
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    turn->heads_count = 0;
    turn->heads = arena_array(turn->arena, turn->works_count, sizeof(*turn->heads));
    if (!tenants || !turn->heads)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < turn->works_count; i++) {
        int64_t tenant_id = turn->works[i].ref.tenant_id;

        if (turn->works[i].number > 0 ||
            (turn->heads_count > 0 && tenants[turn->heads_count - 1] == tenant_id))
            continue;
        tenants[turn->heads_count] = tenant_id;
        turn->heads[turn->heads_count++] = (struct head){.tenant_id = tenant_id, .is_signed = true};
    }
    if (turn->heads_count == 0)
        return STATUS_OK;
    sql_params_begin(&params, turn->arena);
    sql_add_i64s(&params, tenants, turn->heads_count);
    status = database_run(db, &read_heads, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, turn->arena); sql_next(&row);)
        read_head(&row, turn);
    return sql_done(&row);
}

/* --- chaining --------------------------------------------------------------------------------- */

static void note_gap(struct turn *turn, struct work *work, int64_t found_seq)
{
    if (work->gap_seq != work->chain.seq + 1)
        log_error("ledger",
                  "seal.gap tenant_id=%" PRId64 " limit=%" PRId64 " period_start_ms=%" PRId64
                  " missing_seq=%" PRId64 " found_seq=%" PRId64,
                  work->ref.tenant_id, work->ref.ref.limit_id, work->ref.ref.period_start_ms,
                  work->chain.seq + 1, found_seq);
    turn->sealing->gaps++;
    work->gap_seq = work->chain.seq + 1;
}

/* The items [from, to) are this quota's. */
static void extend(struct turn *turn, struct work *work, size_t from, size_t to)
{
    int64_t was_seq = work->chain.seq, was_gap = work->gap_seq;

    work->gap_seq = work->was == CHAIN_UNKNOWN_KEY ? work->chain.seq + 1 : 0;
    for (size_t i = from; i < to && work->was != CHAIN_UNKNOWN_KEY; i++) {
        const struct item *item = &turn->items[i];

        if (item->seq <= work->chain.seq)
            continue;
        if (item->seq != work->chain.seq + 1) {
            work->gap_seq = was_gap;
            note_gap(turn, work, item->seq);
            break;
        }
        chain_add(&work->chain, turn->sealing->digest, item->entry, item->counted);
        turn->sealing->sealed++;
    }
    work->changed = work->chain.seq != was_seq || work->gap_seq != was_gap;
    if (work->changed && work->number == 0) {
        struct head *head = find_head(turn, work->ref.tenant_id);

        work->number = ++head->seals;
        head->changed = true;
    }
}

static void extend_all(struct turn *turn)
{
    size_t from = 0;

    for (size_t i = 0; i < turn->works_count; i++) {
        size_t to = from;

        while (to < turn->items_count &&
               rows_ref_compare(turn->items[to].ref, turn->works[i].ref) == 0)
            to++;
        extend(turn, &turn->works[i], from, to);
        from = to;
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

#define COLUMN(params, count, of)                                                                  \
    do {                                                                                           \
        struct sql_array array_ = sql_array_begin(params, SQL_BIGINT, count, 0);                   \
        for (size_t i = 0; i < (count); i++)                                                       \
            sql_array_i64(&array_, of);                                                            \
    } while (0)

#define HEX_COLUMN(params, count, bytes, of)                                                       \
    do {                                                                                           \
        char hex_[HEX_LEN(bytes) + 1];                                                             \
        struct sql_array array_ =                                                                  \
            sql_array_begin(params, SQL_TEXT, count, (count)*HEX_LEN((size_t)(bytes)));            \
        for (size_t i = 0; i < (count); i++) {                                                     \
            hex_encode(of, bytes, hex_);                                                           \
            sql_array_text(&array_, slice_of(hex_, HEX_LEN(bytes)));                               \
        }                                                                                          \
    } while (0)

/* Those that changed come first, in the same order; returns how many. */
static size_t keep_changed(struct turn *turn)
{
    size_t count = 0;

    for (size_t i = 0; i < turn->works_count; i++)
        if (turn->works[i].changed)
            turn->works[count++] = turn->works[i];
    return count;
}

static enum status write_all_seals(struct database *db, struct turn *turn)
{
    size_t count = keep_changed(turn);
    const struct work *works = turn->works;
    struct chain_code *codes = arena_array(turn->arena, count, sizeof(*codes));
    struct sql_params params;

    if (!codes)
        return STATUS_EXHAUSTED;
    if (count == 0)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++)
        if (works[i].was == CHAIN_UNKNOWN_KEY)
            codes[i] = works[i].code;
        else if (works[i].was == CHAIN_GENUINE)
            codes[i] = chain_sign(turn->sealing->signer, &works[i].chain, works[i].number);
    sql_params_begin(&params, turn->arena);
    COLUMN(&params, count, works[i].ref.tenant_id);
    COLUMN(&params, count, works[i].ref.ref.limit_id);
    COLUMN(&params, count, works[i].ref.ref.period_start_ms);
    COLUMN(&params, count, works[i].number);
    COLUMN(&params, count, works[i].chain.seq);
    COLUMN(&params, count, works[i].chain.amount);
    COLUMN(&params, count, works[i].chain.debt);
    COLUMN(&params, count, works[i].chain.at_ms);
    COLUMN(&params, count, codes[i].kid);
    COLUMN(&params, count, works[i].gap_seq);
    COLUMN(&params, count, works[i].gap_seq ? turn->now_ms : 0);
    HEX_COLUMN(&params, count, DIGEST_BYTES, works[i].chain.digest);
    HEX_COLUMN(&params, count, CHAIN_CODE_BYTES, codes[i].code);
    return database_run(db, &write_seals, &params, NULL);
}

static enum status write_all_heads(struct database *db, struct turn *turn)
{
    struct head *heads = turn->heads;
    struct chain_code *codes = arena_array(turn->arena, turn->heads_count, sizeof(*codes));
    struct sql_params params;
    size_t count = 0;

    if (!codes)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < turn->heads_count; i++)
        if (heads[i].changed)
            heads[count++] = heads[i];
    if (count == 0)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++)
        if (heads[i].is_signed)
            codes[i] = chain_sign_head(turn->sealing->signer, heads[i].tenant_id, heads[i].seals);
    sql_params_begin(&params, turn->arena);
    COLUMN(&params, count, heads[i].tenant_id);
    COLUMN(&params, count, heads[i].seals);
    COLUMN(&params, count, codes[i].kid);
    HEX_COLUMN(&params, count, CHAIN_CODE_BYTES, codes[i].code);
    return database_run(db, &write_heads, &params, NULL);
}

/* What was read goes into the chains. */
static enum status seal_entries(struct database *db, struct turn *turn, const struct rows_ref *only)
{
    enum status status;

    if (!list_items(turn, only))
        return STATUS_EXHAUSTED;
    if (turn->items_count == 0)
        return STATUS_OK;
    status = read_works(db, turn);
    if (status == STATUS_OK)
        status = read_all_heads(db, turn);
    if (status != STATUS_OK)
        return status;
    extend_all(turn);
    status = write_all_seals(db, turn);
    return status == STATUS_OK ? write_all_heads(db, turn) : status;
}

/* --- gaps ------------------------------------------------------------------------------------- */

struct gap {
    struct rows_ref ref;
    int64_t at_ms, seq;
};

struct gaps {
    struct turn *turn;
    struct gap gaps[SEAL_GAPS_MAX];
    size_t count, at;
};

static enum status list_gaps(struct database *db, struct gaps *gaps)
{
    struct turn *turn = gaps->turn;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, turn->arena);
    sql_add_i64(&params, turn->now_ms - SEAL_GAP_AGAIN_MS);
    sql_add_i64(&params, SEAL_GAPS_MAX);
    sql_add_i64(&params, turn->now_ms);
    status = database_run(db, &find_gaps, &params, &result);
    if (status != STATUS_OK)
        return status;
    gaps->count = 0;
    row = sql_rows(result, turn->arena);
    row.bad = sql_count(&row) > SEAL_GAPS_MAX;
    while (sql_next(&row)) {
        struct gap *gap = &gaps->gaps[gaps->count++];

        gap->ref.tenant_id = sql_i64(&row);
        gap->ref.ref.limit_id = sql_i64(&row);
        gap->ref.ref.period_start_ms = sql_i64(&row);
        gap->at_ms = sql_i64(&row);
        gap->seq = sql_i64(&row);
    }
    return sql_done(&row);
}

static const struct statement gap_goes_on = {
    "seal_gap_goes_on",
    "UPDATE seal SET gap_seq = seq + 1, gap_looked_ms = 0 WHERE tenant_id = $1::bigint"
    " AND limit_id = $2::bigint AND period_start_ms = $3::bigint"};

/* A page was sealed, and no window comes back to what is behind it: it is the next gap to be looked at. */
static enum status go_on(struct database *db, struct turn *turn, const struct gap *gap)
{
    struct sql_params params;

    sql_params_begin(&params, turn->arena);
    sql_add_i64(&params, gap->ref.tenant_id);
    sql_add_i64(&params, gap->ref.ref.limit_id);
    sql_add_i64(&params, gap->ref.ref.period_start_ms);
    return database_run(db, &gap_goes_on, &params, NULL);
}

static enum status look_for(struct database *db, struct turn *turn, const struct gap *gap)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, turn->arena);
    sql_add_i64(&params, gap->ref.tenant_id);
    sql_add_time_ms(&params, gap->at_ms > GAP_BACK_MS ? gap->at_ms - GAP_BACK_MS : 0);
    sql_add_i64(&params, SEAL_ROWS_MAX);
    sql_add_i64(&params, gap->ref.ref.limit_id);
    sql_add_i64(&params, gap->ref.ref.period_start_ms);
    sql_add_i64(&params, gap->seq);
    status = database_run(db, &gap_settings, NULL, NULL);
    if (status == STATUS_OK)
        status = database_run(db, &read_gap, &params, &result);
    if (status == STATUS_OK)
        status = take_entries(turn, result);
    if (status == STATUS_OK)
        status = seal_entries(db, turn, &gap->ref);
    if (status == STATUS_OK && turn->entries_count == SEAL_ROWS_MAX && turn->works_count > 0 &&
        turn->works[0].gap_seq == 0)
        status = go_on(db, turn, gap);
    return status;
}

/* --- a turn ----------------------------------------------------------------------------------- */

/* What the lock found. */
struct locked {
    bool own;   /* false: another seals */
    bool empty; /* no entry yet, and nothing sealed */
    int64_t sealed_to_ms;
};

static enum status lock(struct database *db, struct turn *turn, struct locked *ret)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &lock_state, NULL, &result);

    *ret = (struct locked){0};
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, turn->arena);
    while (sql_next(&row)) {
        ret->sealed_to_ms = sql_i64(&row);
        ret->empty = sql_bool(&row);
        ret->own = true;
    }
    status = sql_done(&row);
    return status == STATUS_OK && ret->own ? database_run(db, &plan_settings, NULL, NULL) : status;
}

static enum status move_on(struct database *db, struct turn *turn, int64_t to_ms)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, turn->arena);
    sql_add_i64(&params, to_ms);
    status = database_run(db, &write_state, &params, NULL);
    if (status == STATUS_OK && FAULT("seal.before_commit"))
        return STATUS_UNAVAILABLE;
    return status;
}

/* Entries from from_ms on, as far as a turn goes. */
static enum status seal_window(struct database *db, struct turn *turn, int64_t from_ms)
{
    struct ledger_sealing *sealing = turn->sealing;
    int64_t to_ms = from_ms + sealing->window_ms;
    bool whole = sealing->window_ms <= MOMENT_MS;
    enum status status;

    if (to_ms > turn->safe_ms)
        to_ms = turn->safe_ms;
    status = read_between(db, turn, from_ms, to_ms, whole ? INT64_MAX : SEAL_ROWS_MAX + 1);
    if (status != STATUS_OK)
        return status;
    sealing->more = to_ms < turn->safe_ms;
    if (!whole && is_too_much(turn)) {
        sealing->window_ms = (to_ms - from_ms) / 2 > MOMENT_MS ? (to_ms - from_ms) / 2 : MOMENT_MS;
        sealing->more = true;
        return STATUS_OK;
    }
    if (turn->entries_count <= SEAL_ROWS_MAX / 4 && sealing->window_ms < WINDOW_MAX_MS)
        sealing->window_ms *= 2;
    status = seal_entries(db, turn, NULL);
    sealing->sealed_to_ms = to_ms;
    return status == STATUS_OK ? move_on(db, turn, to_ms) : status;
}

static enum status body(struct database *db, void *user)
{
    struct turn *turn = user;
    struct ledger_sealing *sealing = turn->sealing;
    struct locked locked;
    enum status status;

    sealing->sealed = sealing->gaps = 0;
    sealing->more = false;
    status = lock(db, turn, &locked);
    if (status != STATUS_OK || !locked.own)
        return status;
    sealing->sealed_to_ms = locked.empty ? turn->safe_ms : locked.sealed_to_ms;
    if (locked.empty)
        return move_on(db, turn, turn->safe_ms);
    return locked.sealed_to_ms < turn->safe_ms ? seal_window(db, turn, locked.sealed_to_ms)
                                               : STATUS_OK;
}

static enum status list_body(struct database *db, void *user)
{
    struct gaps *gaps = user;
    struct locked locked;
    enum status status = lock(db, gaps->turn, &locked);

    gaps->count = 0;
    return status == STATUS_OK && locked.own ? list_gaps(db, gaps) : status;
}

static enum status look_body(struct database *db, void *user)
{
    struct gaps *gaps = user;
    struct locked locked;
    enum status status = lock(db, gaps->turn, &locked);

    return status == STATUS_OK && locked.own ? look_for(db, gaps->turn, &gaps->gaps[gaps->at])
                                             : status;
}

/* Each in a transaction of its own: one that cannot be looked at keeps nothing else from being sealed. */
static enum status look_for_gaps(struct database *db, struct turn *turn)
{
    struct gaps gaps = {.turn = turn};
    enum status status = database_transact(db, list_body, &gaps), one;

    for (size_t count = status == STATUS_OK ? gaps.count : 0; gaps.at < count; gaps.at++) {
        one = database_transact(db, look_body, &gaps);
        status = status == STATUS_OK ? one : status;
    }
    return status;
}

enum status ledger_seal_run(struct database *db, struct arena *arena,
                            struct ledger_sealing *sealing)
{
    struct turn turn = {.sealing = sealing, .arena = arena};
    enum status status;

    if (sealing->window_ms == 0)
        sealing->window_ms = WINDOW_FIRST_MS;
    status = seal_find_safe(db, arena, sealing, &turn.now_ms, &turn.safe_ms);
    if (status == STATUS_OK)
        status = database_transact(db, body, &turn);
    if (status != STATUS_OK)
        return status;
    sealing->now_ms = turn.now_ms;
    status = look_for_gaps(db, &turn);
    if (status != STATUS_OK || (sealing->sealed == 0 && !sealing->ranges_left))
        return status;
    return seal_ranges_summarize(db, arena, sealing);
}
