/*
 * ledger/losses.c over pretended rows: what the database has lost is proven by quota/loss.h.
 */
#include "tests/sim/postgres_rows.h"

#include "base/amount.h"
#include "ledger/ledger.h"
#include "tests/sim/mutants.h"

struct finding {
    struct arena *arena;
    const struct loss_seen *seen;
    size_t count;
    struct pg_ref *refs;
    size_t refs_count;
    struct loss *losses;
    size_t losses_count;
};

struct pg_loss *postgres_loss(struct postgres *pg, int64_t tenant_id, struct quota_ref ref)
{
    for (struct pg_loss *known = pg->losses; known; known = known->next)
        if (known->loss.tenant_id == tenant_id && quota_ref_equal(known->loss.ref, ref))
            return known;
    return NULL;
}

static void land_loss(struct postgres *pg, struct pg_change *change)
{
    const struct loss *loss = change->user;
    struct pg_tenant *tenant = postgres_tenant(pg, loss->tenant_id);
    struct pg_loss *known = postgres_loss(pg, loss->tenant_id, loss->ref);

    if (!known) {
        known = pg_alloc(&pg->storage, 1, sizeof(*known));
        known->next = pg->losses;
        pg->losses = known;
    }
    known->loss = *loss;
    known->accepted = false;
    tenant->read_only = true;
    tenant->info.config_version++;
    tenant->config_position = ++pg->config_position;
}

static void look_at(struct pg_tx *tx, struct finding *finding, struct book *book,
                    const struct loss_seen *seen)
{
    struct quota_row *quota = book_find_quota(book, seen->tenant_id, seen->ref);
    const struct pg_loss *known = postgres_loss(tx->pg, seen->tenant_id, seen->ref);
    struct loss *loss = &finding->losses[finding->losses_count];
    struct lease_row old;

    if (!quota)
        return;
    if (loss_prove(book, quota, seen, known ? known->loss.seen_seq : 0, loss) &&
        (!known || known->accepted || loss_grown(&known->loss, loss))) {
        struct pg_change *change = pg_add(tx, PG_CALL, seen->tenant_id);
        struct loss *kept = pg_alloc(&tx->pg->storage, 1, sizeof(*kept));

        *kept = *loss;
        change->call = land_loss;
        change->user = kept;
        finding->losses_count++;
    }
    if (!mutant_is(MUTANT_LOSS_IS_NOT_ADOPTED) && loss_adopt(quota, seen, &old) &&
        old.lease_id != 0)
        pg_add(tx, PG_PUT_LEASE, old.tenant_id)->lease = old;
}

static enum status find_body(struct database *db, void *user)
{
    struct finding *finding = user;
    struct book book = {.arena = finding->arena};
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, finding->arena, 0);

    finding->losses_count = 0;
    if (status != STATUS_OK)
        return status;
    status = pg_lock(&tx, db, &book, finding->refs, finding->refs_count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < finding->count; i++)
        look_at(&tx, finding, &book, &finding->seen[i]);
    pg_write(&tx, &book);
    return pg_commit(&tx);
}

static bool is_suspect(struct postgres *pg, const struct loss_seen *seen)
{
    const struct pg_quota *quota = pg_find_quota(postgres_tenant(pg, seen->tenant_id), seen->ref);

    return !quota || loss_suspect(&quota->row, seen);
}

enum status sim_losses_find(struct database *db, struct arena *arena, const struct loss_seen *seen,
                            size_t count, struct loss **ret, size_t *ret_count)
{
    struct loss_seen *suspects = pg_alloc(arena, count + 1, sizeof(*suspects));
    struct finding finding = {.arena = arena, .seen = suspects};
    enum status status = pg_ask(db);

    *ret_count = 0;
    *ret = finding.losses = pg_alloc(arena, count + 1, sizeof(**ret));
    finding.refs = pg_alloc(arena, count + 1, sizeof(*finding.refs));
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        if (is_suspect(db->pg, &seen[i])) {
            finding.refs[finding.count] = (struct pg_ref){seen[i].tenant_id, seen[i].ref};
            suspects[finding.count++] = seen[i];
        }
    if (status != STATUS_OK || finding.count == 0)
        return status;
    finding.refs_count = pg_refs_sort(finding.refs, finding.count);
    status = pg_make(db, arena, finding.refs, finding.refs_count);
    if (status == STATUS_OK)
        status = pg_transact(db, find_body, &finding);
    *ret_count = finding.losses_count;
    return status;
}

bool pg_is_shut(const struct database *db)
{
    return db->options.compared && db->pg->timeline != db->pg->compared &&
           !mutant_is(MUTANT_COMMITS_BEFORE_COMPARED);
}

enum status sim_history_compared(struct database *db, struct arena *arena, int64_t system,
                                 int64_t timeline)
{
    enum status status = pg_ask(db);

    (void)arena, (void)system;
    if (status == STATUS_OK && db->pg->compared != timeline) {
        db->pg->compared = timeline;
        db->pg->reaped_to_ms = db->pg->now_ms(db->pg->user);
    }
    return status;
}

/* --- accepting -------------------------------------------------------------------------------- */

struct accepting {
    struct arena *arena;
    struct pg_tenant *tenant;
    struct ledger_loss *losses;
    size_t count;
};

static void land_accepted(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);

    for (struct pg_loss *known = pg->losses; known; known = known->next)
        known->accepted |= known->loss.tenant_id == change->tenant_id;
    tenant->read_only = false;
    tenant->info.config_version++;
    tenant->config_position = ++pg->config_position;
}

static struct settle_record *record_of(struct arena *arena, const struct quota_row *quota,
                                       const struct ledger_loss *loss)
{
    struct settle_record *record = pg_alloc(arena, 1, sizeof(*record));
    struct settle_entry *entry = pg_alloc(arena, 1, sizeof(*entry));
    struct settle_counted *counted = pg_alloc(arena, 1, sizeof(*counted));

    *counted = (struct settle_counted){quota->ref, quota->ledger_seq, loss->amount, loss->debt};
    *entry = (struct settle_entry){.meter = quota->meter,
                                   .asked_given = true,
                                   .asked = loss->loss.units,
                                   .amount = loss->amount,
                                   .debt = loss->debt,
                                   .counted_count = 1,
                                   .counted = counted};
    *record = (struct settle_record){
        .scope = quota->scope, .late = true, .entries_count = 1, .entries = entry};
    return record;
}

static void accept_one(struct pg_tx *tx, struct accepting *accepting, struct book *book,
                       struct ledger_loss *loss)
{
    struct quota_row *quota = book_find_quota(book, loss->loss.tenant_id, loss->loss.ref);
    struct booking booking;
    struct pg_change *change;

    if (!quota)
        return;
    booking = loss_book(book, quota, &loss->loss);
    loss_renumber(quota, &loss->loss);
    book_apply(&booking);
    book_check(book, quota);
    loss->limit_name = quota->limit_name;
    loss->amount = booking.spend + booking.forced - booking.debt;
    loss->debt = booking.debt;
    loss->job_id = slice_from_cstr(
        arena_printf(accepting->arena, LEDGER_LOSS_JOB "%lld", (long long)tx->number * 100 +
                     (long long)(loss - accepting->losses)));
    book_cross(book, quota, loss->job_id, (struct attempt){0});
    change = pg_add(tx, PG_ADD_RECORD, quota->tenant_id);
    change->job_id = pg_keep(tx->pg, loss->job_id);
    change->record = pg_copy_record(&tx->pg->storage, record_of(accepting->arena, quota, loss));
}

static enum status accept_body(struct database *db, void *user)
{
    struct accepting *accepting = user;
    int64_t tenant_id = accepting->tenant->info.tenant_id;
    struct book book = {.arena = accepting->arena};
    struct pg_ref *refs;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, accepting->arena, 0);
    size_t max = 0;

    if (status != STATUS_OK)
        return status;
    accepting->count = 0;
    for (const struct pg_loss *known = db->pg->losses; known; known = known->next)
        max++;
    refs = pg_alloc(accepting->arena, max, sizeof(*refs));
    accepting->losses = pg_alloc(accepting->arena, max, sizeof(*accepting->losses));
    for (const struct pg_loss *known = db->pg->losses; known; known = known->next)
        if (known->loss.tenant_id == tenant_id && !known->accepted) {
            refs[accepting->count] = (struct pg_ref){tenant_id, known->loss.ref};
            accepting->losses[accepting->count++].loss = known->loss;
        }
    status = pg_lock(&tx, db, &book, refs, pg_refs_sort(refs, accepting->count));
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < accepting->count; i++)
        accept_one(&tx, accepting, &book, &accepting->losses[i]);
    pg_add(&tx, PG_CALL, tenant_id)->call = land_accepted;
    pg_write(&tx, &book);
    return pg_commit(&tx);
}

enum status sim_losses_accept(struct database *db, struct arena *arena,
                              const struct ledger_note *note, bool validate_only,
                              struct slice tenant, struct ledger_loss **ret, size_t *ret_count,
                              enum ledger_admin *ret_admin)
{
    struct accepting accepting = {.arena = arena, .tenant = postgres_tenant_named(db->pg, tenant)};
    enum status status = pg_ask(db);

    (void)note;
    *ret_count = 0;
    *ret_admin = accepting.tenant ? ADMIN_DONE : ADMIN_NOT_FOUND;
    if (status != STATUS_OK || validate_only || !accepting.tenant || !accepting.tenant->read_only)
        return status;
    status = pg_transact(db, accept_body, &accepting);
    *ret = accepting.losses;
    *ret_count = status == STATUS_OK ? accepting.count : 0;
    return status;
}

enum status sim_losses_tenants(struct database *db, struct arena *arena, size_t max,
                               struct slice **ret, size_t *ret_count)
{
    (void)db, (void)arena, (void)max;
    *ret = NULL;
    *ret_count = 0;
    return STATUS_OK;
}
