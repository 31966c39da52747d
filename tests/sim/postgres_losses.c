/*
 * ledger/losses.c over pretended rows: what the database has lost is proven by quota/loss.h.
 */
#include "tests/sim/postgres_rows.h"

#include "base/amount.h"
#include "ledger/ledger.h"

struct finding {
    struct arena *arena;
    const struct loss_seen *seen;
    size_t count;
    struct pg_ref *refs;
    size_t refs_count;
    struct loss *losses;
    size_t losses_count;
};

static struct pg_loss *known_loss(struct postgres *pg, int64_t tenant_id, struct quota_ref ref)
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
    struct pg_loss *known = known_loss(pg, loss->tenant_id, loss->ref);

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
    const struct pg_loss *known = known_loss(tx->pg, seen->tenant_id, seen->ref);
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
    if (loss_adopt(quota, seen, &old) && old.lease_id != 0)
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

enum status sim_history_compared(struct database *db, struct arena *arena, int64_t system,
                                 int64_t timeline)
{
    enum status status = pg_ask(db);

    (void)arena, (void)system;
    if (status == STATUS_OK)
        db->pg->compared = timeline;
    return status;
}

/* Nobody asks: there is no operator. */
enum status sim_losses_accept(struct database *db, struct arena *arena,
                              const struct ledger_note *note, bool validate_only,
                              struct slice tenant, struct ledger_loss **ret, size_t *ret_count,
                              enum ledger_admin *ret_admin)
{
    (void)db, (void)arena, (void)note, (void)validate_only, (void)tenant, (void)ret, (void)ret_admin;
    *ret_count = 0;
    return STATUS_UNAVAILABLE;
}

enum status sim_losses_tenants(struct database *db, struct arena *arena, size_t max,
                               struct slice **ret, size_t *ret_count)
{
    (void)db, (void)arena, (void)max;
    *ret = NULL;
    *ret_count = 0;
    return STATUS_OK;
}
