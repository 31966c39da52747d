/*
 * What the database has lost: proven under the quotas' locks, kept in the table loss, accepted by an admin
 * (op/PROTOCOL.md 3.13). The rules are quota/loss.h's.
 */
#include "base/amount.h"
#include "base/entropy.h"
#include "base/log.h"
#include "ledger/admin_tenant.h"
#include "ledger/audit.h"
#include "ledger/ledger.h"
#include "ledger/rows.h"

#include <inttypes.h>
#include <stdio.h>

/* --- which history ---------------------------------------------------------------------------- */

static const struct statement mark = {
    "losses_mark",
    "UPDATE history SET system = $1::bigint, timeline = $2::bigint,"
    " compared = clock_timestamp(), reaped_to_ms = " SQL_MS_OF(
        "clock_timestamp()") " WHERE system <> $1::bigint OR timeline <> $2::bigint"};

/* Kept as long as Redis may still show a higher number than the row has. */
static const struct statement forget = {
    "losses_forget",
    "DELETE FROM loss x WHERE accepted IS NOT NULL AND NOT EXISTS (SELECT FROM quota q"
    " WHERE q.tenant_id = x.tenant_id AND q.limit_id = x.limit_id"
    " AND q.period_start_ms = x.period_start_ms AND q.ledger_seq + q.seq_lost < x.seen_seq)"};

enum status ledger_history_compared(struct database *db, struct arena *arena, int64_t system,
                                    int64_t timeline)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, system);
    sql_add_i64(&params, timeline);
    status = database_run(db, &mark, &params, NULL);
    return status == STATUS_OK ? database_run(db, &forget, NULL, NULL) : status;
}

/* --- finding ---------------------------------------------------------------------------------- */

/* clang-format off */
/* Without locks: most rows are as they should be. */
static const struct statement suspects = {
    "losses_suspects",
    "SELECT n.number FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, lim) ", "
    SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, number) ", " SQL_ROWS(5, bigint, lease) ", "
    SQL_ROWS(6, bigint, granted) ", " SQL_ROWS(7, bigint, spent) ", " SQL_ROWS(8, bigint, seq) ", "
    SQL_ROWS(9, bigint, returned) ", " SQL_ROWS(10, bigint, deadline) ") AS n"
    " LEFT JOIN LATERAL (SELECT * FROM quota WHERE " ROWS_KEY_QUOTA " OFFSET 0) AS q ON true"
    " WHERE q.tenant_id IS NULL OR q.ledger_seq + q.seq_lost < n.seq OR q.lease_id < n.lease"
    " OR q.lease_id = n.lease AND (q.granted < n.granted OR q.spent < n.spent"
    " OR q.returned <= n.returned AND q.lease_deadline_ms < n.deadline) ORDER BY 1"};
/* clang-format on */

static const struct statement known = {
    "losses_known", "SELECT x.limit_id, x.period_start_ms, x.lease_id, x.spent, x.units, x.seq,"
                    " x.seen_seq, x.accepted IS NOT NULL FROM loss x WHERE x.tenant_id = $1::bigint"
                    " ORDER BY 1, 2"};

static const struct statement keep = {
    "losses_keep",
    "INSERT INTO loss (tenant_id, limit_id, period_start_ms, lease_id, spent, units, seq, seen_seq)"
    " VALUES ($1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint,"
    " $8::bigint) ON CONFLICT (tenant_id, limit_id, period_start_ms) DO UPDATE SET"
    " lease_id = EXCLUDED.lease_id, spent = EXCLUDED.spent, units = EXCLUDED.units,"
    " seq = EXCLUDED.seq, seen_seq = EXCLUDED.seen_seq, found = clock_timestamp(), accepted = NULL"};

static const struct statement shut = {
    "losses_shut",
    "UPDATE tenant SET read_only = $2::boolean, config_version = config_version + 1,"
    " config_position = config_position_next() WHERE tenant_id = $1::bigint RETURNING name"};

struct known_loss {
    struct loss loss;
    bool accepted;
};

static enum status read_known(struct database *db, struct arena *arena, int64_t tenant_id,
                              struct known_loss **ret, size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_count = 0;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    status = database_run(db, &known, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        struct known_loss *one = &(*ret)[(*ret_count)++];

        one->loss = (struct loss){.tenant_id = tenant_id, .ref = {.limit_id = sql_i64(&row)}};
        one->loss.ref.period_start_ms = sql_i64(&row);
        one->loss.lease_id = sql_i64(&row);
        one->loss.spent = sql_i64(&row);
        one->loss.units = sql_i64(&row);
        one->loss.seq = sql_i64(&row);
        one->loss.seen_seq = sql_i64(&row);
        one->accepted = sql_bool(&row);
    }
    return sql_done(&row);
}

static const struct known_loss *find_known(const struct known_loss *list, size_t count,
                                           struct quota_ref ref)
{
    for (size_t i = 0; i < count; i++)
        if (quota_ref_equal(list[i].loss.ref, ref))
            return &list[i];
    return NULL;
}

/* The suspects of one tenant. */
struct finding {
    struct arena *arena;
    const struct loss_seen *const *seen;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    /* of the last run */
    struct book book;
    struct loss *losses;
    size_t losses_count;
    struct lease_row *begun;
    size_t begun_count;
    size_t adopted;
    struct slice tenant;
};

static enum status shut_tenant(struct database *db, struct arena *arena, int64_t tenant_id,
                               bool read_only, struct slice *ret_name)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    sql_add_bool(&params, read_only);
    status = database_run(db, &shut, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row))
        *ret_name = sql_text(&row);
    return sql_done(&row);
}

static enum status keep_losses(struct database *db, struct finding *finding)
{
    int64_t tenant_id = finding->losses[0].tenant_id;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < finding->losses_count && status == STATUS_OK; i++) {
        const struct loss *loss = &finding->losses[i];
        struct sql_params params;

        sql_params_begin(&params, finding->arena);
        sql_add_i64(&params, loss->tenant_id);
        sql_add_i64(&params, loss->ref.limit_id);
        sql_add_i64(&params, loss->ref.period_start_ms);
        sql_add_i64(&params, loss->lease_id);
        sql_add_i64(&params, loss->spent);
        sql_add_i64(&params, loss->units);
        sql_add_i64(&params, loss->seq);
        sql_add_i64(&params, loss->seen_seq);
        status = database_run(db, &keep, &params, NULL);
    }
    if (status == STATUS_OK)
        status = admin_tenant_bump(db, finding->arena, tenant_id); /* and its lock */
    if (status == STATUS_OK)
        status = shut_tenant(db, finding->arena, tenant_id, true, &finding->tenant);
    if (status == STATUS_OK) {
        struct audit audit = {
            .tenant_id = tenant_id,
            .note = {.actor = SLICE("holdfast"),
                     .reason = SLICE("the database has lost what Redis had heard of")},
            .action = SLICE("tenant.read_only"),
            .object = finding->tenant,
        };

        status = audit_write(db, finding->arena, &audit, slice_of(NULL, 0),
                             SLICE("{\"read_only\": true}"));
    }
    return status;
}

static void look_at(struct finding *finding, const struct loss_seen *seen,
                    const struct known_loss *list, size_t count)
{
    struct quota_row *quota = book_find_quota(&finding->book, seen->tenant_id, seen->ref);
    const struct known_loss *before = find_known(list, count, seen->ref);
    struct loss *loss = &finding->losses[finding->losses_count];
    struct lease_row old;

    if (!quota)
        return;
    if (loss_prove(&finding->book, quota, seen, before ? before->loss.seen_seq : 0, loss) &&
        (!before || before->accepted || loss_grown(&before->loss, loss)))
        finding->losses_count++;
    if (loss_adopt(quota, seen, &old)) {
        finding->adopted++;
        if (old.lease_id != 0)
            finding->begun[finding->begun_count++] = old;
    }
}

static enum status find_body(struct database *db, void *user)
{
    struct finding *finding = user;
    struct known_loss *list;
    size_t count;
    enum status status;

    finding->book = (struct book){.arena = finding->arena};
    finding->losses_count = finding->begun_count = finding->adopted = 0;
    status = rows_lock_tenant(db, &finding->book, finding->refs, finding->refs_count);
    if (status == STATUS_OK)
        status = read_known(db, finding->arena, finding->refs[0].tenant_id, &list, &count);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < finding->count; i++)
        look_at(finding, finding->seen[i], list, count);
    status = rows_write(db, &finding->book);
    if (status == STATUS_OK)
        status = rows_leases_insert(db, finding->arena, finding->begun, finding->begun_count);
    return status == STATUS_OK && finding->losses_count > 0 ? keep_losses(db, finding) : status;
}

static void tell(const struct finding *finding)
{
    for (size_t i = 0; i < finding->losses_count; i++) {
        const struct loss *loss = &finding->losses[i];

        log_error("ledger",
                  "root.lost tenant=%.*s limit_id=%" PRId64 " period_start_ms=%" PRId64
                  " units=%" PRId64 " entries=%" PRId64 ": acknowledged use is not in the database;"
                  " the tenant is read-only until holdfast reconcile --accept",
                  SLICE_ARGS(finding->tenant), loss->ref.limit_id, loss->ref.period_start_ms,
                  loss->units, amount_max(loss->seen_seq - loss->seq, 0));
    }
    if (finding->adopted > 0)
        log_warn("ledger",
                 "root.grants_lost tenant_id=%" PRId64 " quotas=%zu: Redis had been lent more than"
                 " the database knows; it is counted again",
                 finding->refs[0].tenant_id, finding->adopted);
}

static enum status find_in_tenant(struct database *db, struct arena *arena,
                                  const struct loss_seen *const *seen, size_t count,
                                  struct loss *losses, size_t *ret_count)
{
    struct finding finding = {.arena = arena,
                              .seen = seen,
                              .count = count,
                              .losses = losses,
                              .refs = arena_array(arena, count, sizeof(struct rows_ref)),
                              .begun = arena_array(arena, count, sizeof(struct lease_row))};
    enum status status;

    *ret_count = 0;
    if (!finding.refs || !finding.begun)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++)
        finding.refs[i] = (struct rows_ref){.tenant_id = seen[i]->tenant_id, .ref = seen[i]->ref};
    finding.refs_count = rows_refs_sort(finding.refs, count);
    /* A row that Redis has a use of and the database does not have is one that was lost itself. */
    status = rows_make(db, arena, finding.refs, finding.refs_count, NULL);
    if (status == STATUS_OK)
        status = database_transact(db, find_body, &finding);
    if (status != STATUS_OK)
        return status;
    tell(&finding);
    *ret_count = finding.losses_count;
    return STATUS_OK;
}

static void suspects_params(struct sql_params *params, const struct loss_seen *seen, size_t count)
{
    struct sql_array column;

#define ADD(expression)                                                                            \
    do {                                                                                           \
        column = sql_array_begin(params, SQL_BIGINT, count, 0);                                    \
        for (size_t i = 0; i < count; i++)                                                         \
            sql_array_i64(&column, (expression));                                                  \
    } while (0)
    ADD(seen[i].tenant_id);
    ADD(seen[i].ref.limit_id);
    ADD(seen[i].ref.period_start_ms);
    ADD((int64_t)i);
    ADD(seen[i].lease_id);
    ADD(seen[i].granted);
    ADD(seen[i].spent);
    ADD(seen[i].used_seq);
    ADD(seen[i].returned);
    ADD(seen[i].lease_deadline_ms);
#undef ADD
}

/* In the order of `seen`, which has the quotas of a tenant side by side. */
static enum status read_suspects(struct database *db, struct arena *arena,
                                 const struct loss_seen *seen, size_t count,
                                 const struct loss_seen **list, size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    suspects_params(&params, seen, count);
    status = database_run(db, &suspects, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        int64_t number = sql_i64(&row);

        if (number < 0 || number >= (int64_t)count || *ret_count >= count)
            row.bad = true;
        else
            list[(*ret_count)++] = &seen[number];
    }
    return sql_done(&row);
}

enum status ledger_losses_find(struct database *db, struct arena *arena,
                               const struct loss_seen *seen, size_t count, struct loss **ret,
                               size_t *ret_count)
{
    const struct loss_seen **list = arena_array(arena, count + 1, sizeof(*list));
    size_t list_count = 0;
    enum status status, left = STATUS_OK;

    *ret_count = 0;
    *ret = arena_array(arena, count + 1, sizeof(**ret));
    if (!list || !*ret)
        return STATUS_EXHAUSTED;
    status = count > 0 ? read_suspects(db, arena, seen, count, list, &list_count) : STATUS_OK;
    for (size_t from = 0, to; from < list_count && status == STATUS_OK; from = to) {
        size_t found = 0;
        enum status one;

        for (to = from + 1; to < list_count && list[to]->tenant_id == list[from]->tenant_id;)
            to++;
        one = find_in_tenant(db, arena, list + from, to - from, *ret + *ret_count, &found);
        *ret_count += found;
        if (one == STATUS_CONFLICT || one == STATUS_CORRUPT)
            left = left == STATUS_OK ? one : left; /* its own matter: the others are looked at */
        else
            status = one;
    }
    return status == STATUS_OK ? left : status;
}

/* --- accepting -------------------------------------------------------------------------------- */

static const struct statement lock_tenant = {
    "losses_lock_tenant",
    "SELECT read_only FROM tenant WHERE tenant_id = $1::bigint FOR NO KEY UPDATE"};

static const struct statement enter = {
    "losses_enter",
    "INSERT INTO ledger (tenant_id, job_id, entry, hold_epoch, hold_seq, scope, meter, asked, amount,"
    " debt, held, late, counted, at) VALUES ($1::bigint, $2::text, 0, 0, 0, $3::text, $4::text,"
    " $5::bigint, $6::bigint, $7::bigint, 0, true, $8::bigint[], clock_timestamp())"};

static const struct statement close = {
    "losses_close", "UPDATE loss SET accepted = clock_timestamp() WHERE tenant_id = $1::bigint"
                    " AND accepted IS NULL"};

struct accepting {
    struct arena *arena;
    struct audit audit;
    bool validate_only;
    struct slice tenant;
    /* of the last run */
    struct book book;
    struct ledger_loss *losses;
    size_t losses_count;
    bool was_read_only;
    enum ledger_admin admin;
};

static enum status enter_loss(struct database *db, struct accepting *accepting,
                              const struct quota_row *quota, const struct booking *booking,
                              struct ledger_loss *loss)
{
    int64_t amount = booking->spend + booking->forced - booking->debt;
    const int64_t counted[] = {quota->ref.limit_id, quota->ref.period_start_ms, quota->ledger_seq,
                               amount, booking->debt};
    char *job =
        arena_printf(accepting->arena, LEDGER_LOSS_JOB "%016" PRIx64, entropy_u64(entropy_real()));
    struct sql_params params;

    if (!job)
        return STATUS_EXHAUSTED;
    loss->job_id = slice_from_cstr(job);
    loss->amount = amount;
    loss->debt = booking->debt;
    sql_params_begin(&params, accepting->arena);
    sql_add_i64(&params, quota->tenant_id);
    sql_add_text(&params, loss->job_id);
    sql_add_text(&params, quota->scope);
    sql_add_text(&params, quota->meter);
    sql_add_i64(&params, loss->loss.units);
    sql_add_i64(&params, amount);
    sql_add_i64(&params, booking->debt);
    sql_add_i64s(&params, counted, ARRAY_COUNT(counted));
    return database_run(db, &enter, &params, NULL);
}

static const struct statement renumber = {
    "losses_renumber", "UPDATE quota SET seq_lost = $4::bigint WHERE tenant_id = $1::bigint"
                       " AND limit_id = $2::bigint AND period_start_ms = $3::bigint"};

/* Nothing else changes it, so rows_write leaves it out. */
static enum status write_renumbered(struct database *db, struct arena *arena,
                                    const struct quota_row *quota)
{
    struct sql_params params;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, quota->tenant_id);
    sql_add_i64(&params, quota->ref.limit_id);
    sql_add_i64(&params, quota->ref.period_start_ms);
    sql_add_i64(&params, quota->seq_lost);
    return database_run(db, &renumber, &params, NULL);
}

/* Of each loss an entry, where its quota is still there. */
static enum status book_losses(struct database *db, struct accepting *accepting)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < accepting->losses_count && status == STATUS_OK; i++) {
        struct ledger_loss *loss = &accepting->losses[i];
        struct quota_row *quota =
            book_find_quota(&accepting->book, loss->loss.tenant_id, loss->loss.ref);
        struct booking booking;

        if (!quota)
            continue;
        loss->limit_name = quota->limit_name;
        booking = loss_book(&accepting->book, quota, &loss->loss);
        loss_renumber(quota, &loss->loss);
        book_apply(&booking);
        book_check(&accepting->book, quota);
        status = enter_loss(db, accepting, quota, &booking, loss);
        if (status == STATUS_OK)
            status = write_renumbered(db, accepting->arena, quota);
        book_cross(&accepting->book, quota, loss->job_id, (struct attempt){0});
    }
    return status;
}

static enum status read_losses(struct database *db, struct accepting *accepting, int64_t tenant_id)
{
    struct known_loss *list;
    size_t count;
    enum status status = read_known(db, accepting->arena, tenant_id, &list, &count);

    accepting->losses_count = 0;
    if (status != STATUS_OK)
        return status;
    accepting->losses = arena_array(accepting->arena, count + 1, sizeof(*accepting->losses));
    if (!accepting->losses)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++)
        if (!list[i].accepted)
            accepting->losses[accepting->losses_count++] =
                (struct ledger_loss){.loss = list[i].loss};
    return STATUS_OK;
}

/* Of one loss: its names, seven numbers of 20 digits at most, the job. */
enum { ANSWER_BYTES = 320 };

/* What the request did, as its row of audit keeps it for a repeat (read_answer). */
static char *answer_json(const struct accepting *accepting)
{
    size_t room = ANSWER_BYTES * (accepting->losses_count + 1), len = 0;
    char *text = arena_array(accepting->arena, room, 1);

    if (!text)
        return NULL;
    len += (size_t)snprintf(text, room, "{\"read_only\": false, \"losses\": [");
    for (size_t i = 0; i < accepting->losses_count; i++) {
        const struct ledger_loss *loss = &accepting->losses[i];

        len += (size_t)snprintf(text + len, room - len,
                                "%s{\"lim\": %" PRId64 ", \"start\": %" PRId64
                                ", \"units\": %" PRId64 ", \"seq\": %" PRId64
                                ", \"seen_seq\": %" PRId64 ", \"amount\": %" PRId64
                                ", \"debt\": %" PRId64 ", \"job_id\": \"%.*s\"}",
                                i > 0 ? ", " : "", loss->loss.ref.limit_id,
                                loss->loss.ref.period_start_ms, loss->loss.units, loss->loss.seq,
                                loss->loss.seen_seq, loss->amount, loss->debt,
                                SLICE_ARGS(loss->job_id));
    }
    snprintf(text + len, room - len, "]}");
    return text;
}

static const struct statement answered = {
    "losses_answered",
    "SELECT x.lim, x.start, x.units, x.seq, x.seen_seq, x.amount, x.debt, x.job_id,"
    " CASE WHEN x.job_id = '' THEN '' ELSE coalesce(l.name, '') END"
    " FROM audit a CROSS JOIN LATERAL jsonb_to_recordset(coalesce(a.new -> 'losses', '[]')) AS x"
    " (lim bigint, start bigint, units bigint, seq bigint, seen_seq bigint, amount bigint, debt bigint,"
    " job_id text) LEFT JOIN limit_ l ON l.tenant_id = a.tenant_id AND l.limit_id = x.lim"
    " WHERE a.tenant_id = $1::bigint AND a.request_id = $2::text ORDER BY 1, 2"};

static enum status read_answer(struct database *db, struct accepting *accepting)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    accepting->losses_count = 0;
    sql_params_begin(&params, accepting->arena);
    sql_add_i64(&params, accepting->audit.tenant_id);
    sql_add_text(&params, accepting->audit.note.request_id);
    status = database_run(db, &answered, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, accepting->arena);
    accepting->losses =
        arena_array(accepting->arena, sql_count(&row) + 1, sizeof(*accepting->losses));
    row.bad = !accepting->losses;
    while (sql_next(&row)) {
        struct ledger_loss *loss = &accepting->losses[accepting->losses_count++];

        *loss = (struct ledger_loss){.loss.tenant_id = accepting->audit.tenant_id};
        loss->loss.ref.limit_id = sql_i64(&row);
        loss->loss.ref.period_start_ms = sql_i64(&row);
        loss->loss.units = sql_i64(&row);
        loss->loss.seq = sql_i64(&row);
        loss->loss.seen_seq = sql_i64(&row);
        loss->amount = sql_i64(&row);
        loss->debt = sql_i64(&row);
        loss->job_id = sql_text(&row);
        loss->limit_name = sql_text(&row);
    }
    return sql_done(&row);
}

/* The quotas' rows before the tenant's: what is accepted does not change in between, but may grow. */
static enum status lock_all(struct database *db, struct accepting *accepting, int64_t tenant_id)
{
    struct rows_ref *refs =
        arena_array(accepting->arena, accepting->losses_count + 1, sizeof(*refs));
    size_t before = accepting->losses_count;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    if (!refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < before; i++)
        refs[i] = (struct rows_ref){.tenant_id = tenant_id, .ref = accepting->losses[i].loss.ref};
    accepting->book = (struct book){.arena = accepting->arena};
    status = rows_lock_tenant(db, &accepting->book, refs, rows_refs_sort(refs, before));
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, accepting->arena);
    sql_add_i64(&params, tenant_id);
    status = database_run(db, &lock_tenant, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, accepting->arena);
    while (sql_next(&row))
        accepting->was_read_only = sql_bool(&row);
    status = sql_done(&row);
    if (status == STATUS_OK)
        status = read_losses(db, accepting, tenant_id);
    return status == STATUS_OK && accepting->losses_count != before ? STATUS_CONFLICT : status;
}

static enum status accept_locked(struct database *db, struct accepting *accepting)
{
    struct sql_params params;
    struct slice name;
    char *answer;
    enum status status = book_losses(db, accepting);

    if (status == STATUS_OK)
        status = rows_write(db, &accepting->book);
    sql_params_begin(&params, accepting->arena);
    sql_add_i64(&params, accepting->audit.tenant_id);
    if (status == STATUS_OK)
        status = database_run(db, &close, &params, NULL);
    if (status == STATUS_OK)
        status = shut_tenant(db, accepting->arena, accepting->audit.tenant_id, false, &name);
    answer = answer_json(accepting);
    if (!answer)
        return STATUS_EXHAUSTED;
    if (status == STATUS_OK)
        status = audit_write(db, accepting->arena, &accepting->audit,
                             SLICE("{\"read_only\": true}"), slice_from_cstr(answer));
    return status == STATUS_OK && accepting->validate_only ? STATUS_CANCELLED : status;
}

static enum status accept_body(struct database *db, void *user)
{
    struct accepting *accepting = user;
    struct admin_tenant found;
    enum status status = admin_tenant_find(db, accepting->arena, accepting->tenant, &found);
    bool made;

    accepting->admin = ADMIN_NOT_FOUND;
    if (status != STATUS_OK || found.tenant_id == 0)
        return status;
    accepting->audit.tenant_id = found.tenant_id;
    status = read_losses(db, accepting, found.tenant_id);
    if (status == STATUS_OK)
        status = lock_all(db, accepting, found.tenant_id);
    if (status == STATUS_OK)
        status = audit_find(db, accepting->arena, &accepting->audit, &accepting->admin, &made);
    if (status != STATUS_OK || accepting->admin == ADMIN_REQUEST_REUSED)
        return status;
    if (accepting->admin == ADMIN_REPEATED)
        return read_answer(db, accepting);
    return accepting->was_read_only ? accept_locked(db, accepting) : STATUS_OK;
}

enum status ledger_losses_accept(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, bool validate_only,
                                 struct slice tenant, struct ledger_loss **ret, size_t *ret_count,
                                 enum ledger_admin *ret_admin)
{
    struct accepting accepting = {
        .arena = arena,
        .audit = {.note = *note, .action = SLICE("tenant.accept_loss"), .object = tenant},
        .validate_only = validate_only,
        .tenant = tenant,
    };
    char *content = arena_printf(arena, "tenant.accept_loss|%.*s", SLICE_ARGS(tenant));
    enum status status;

    *ret_count = 0;
    if (!content)
        return STATUS_EXHAUSTED;
    accepting.audit.content = slice_from_cstr(content);
    status = database_transact(db, accept_body, &accepting);
    if (status != STATUS_OK && status != STATUS_CANCELLED)
        return status;
    *ret = accepting.losses;
    *ret_count = accepting.losses_count;
    *ret_admin = accepting.admin;
    return STATUS_OK;
}

/* --- who ---------------------------------------------------------------------------------------- */

static const struct statement read_only = {
    "losses_read_only", "SELECT DISTINCT t.name FROM (SELECT tenant_id FROM loss"
                        " WHERE accepted IS NULL ORDER BY 1 LIMIT 10000) x"
                        " JOIN tenant t USING (tenant_id) ORDER BY 1 LIMIT $1::bigint"};

enum status ledger_losses_tenants(struct database *db, struct arena *arena, size_t max,
                                  struct slice **ret, size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_count = 0;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &read_only, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row))
        (*ret)[(*ret_count)++] = sql_text(&row);
    return sql_done(&row);
}
