/*
 * Continuous reconciliation: one server holds the accounts of all quotas against each other
 * (op/reconcile.h), a bounded look a turn, in turns of three kinds:
 *
 *     lent     a page of quotas that have something lent, with Redis: what moves, as long as any does
 *     all      a page of all quotas; a round of them begins every RECONCILE_ROUND_MS
 *     entries  quotas of one tenant with the entries themselves instead of the seals' sums, unless these are
 *              more than ENTRIES_MAX; those with a drift first, then the others, a round every
 *              RECONCILE_ROUND_MS. It comes again so much later that ENTRIES_A_SECOND are not passed
 *
 * A difference that is found is kept in the table drift and told in the log until a look of the same kind
 * finds none. The tenant is told, by DRIFT, of one that is large (drift_is_large) and RECONCILE_TELL_MS old.
 *
 * Redis that is behind and has not moved from one look to the next was not told, and is told again at once.
 * Nothing else is put right here.
 */
#include "op/duty.h"

#include "base/hash.h"
#include "base/still.h"
#include "op/notify.h"
#include "op/reconcile.h"
#include "op/shares.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE_KEYS = 256,
    TENANT_KEYS = 512,    /* of a tenant, for the look at its entries */
    ENTRIES_MAX = 100000, /* of a tenant: one with more is left to VerifyTenant */
    ENTRIES_A_SECOND = 2000,
    BEHIND_PLACES = 4096, /* a power of two */
    FILLS_MAX = 64,       /* of a look */
    CHANGES_MAX = 16,     /* of the table drift, in a turn; a transaction each */
};

struct reconcile {
    bool known; /* what the table drift has */
    struct ledger_drift drifts[LEDGER_DRIFTS_MAX];
    size_t drifts_count;
    int kind; /* of the turn */
    struct ledger_key lent, all;
    int64_t all_us, entries_us, round_us; /* when the next may begin */
    struct ledger_key entries;            /* the last whose entries were looked at */
    bool large;                           /* the tenant has too many entries to be read */
    size_t drift_at;                      /* whose tenant has its turn among the drifts */
    bool drift_turn;
    struct still *behind; /* quotas of which Redis was behind */
    size_t changes;       /* in this turn */
};

static void *create(void)
{
    struct reconcile *own = calloc(1, sizeof(*own));

    CHECK(own);
    own->behind = still_create(BEHIND_PLACES, 0);
    return own;
}

static void destroy(void *own)
{
    still_destroy(((struct reconcile *)own)->behind);
    free(own);
}

/* --- the table -------------------------------------------------------------------------------- */

static struct ledger_drift *find(struct reconcile *own, const struct quota_row *row,
                                 enum drift_kind kind)
{
    for (size_t i = 0; i < own->drifts_count; i++) {
        struct ledger_drift *drift = &own->drifts[i];

        if (drift->tenant_id == row->tenant_id && quota_ref_equal(drift->ref, row->ref) &&
            drift->drift.kind == kind)
            return drift;
    }
    return NULL;
}

static void tell_log(const char *what, const struct ledger_drift *drift, int64_t now_ms)
{
    log_warn("reconcile",
             "drift.%s tenant=%" PRId64 " limit=%" PRId64 " period=%" PRId64 " kind=%s is=%" PRId64
             " other=%" PRId64 " units=%" PRId64 " age_ms=%" PRId64,
             what, drift->tenant_id, drift->ref.limit_id, drift->ref.period_start_ms,
             drift_kind_name(drift->drift.kind), drift->drift.is, drift->drift.other,
             drift->drift.units, now_ms - drift->since_ms);
}

static bool may_change(struct reconcile *own)
{
    return own->changes < CHANGES_MAX;
}

static enum status begin(struct reconcile *own, struct stores *stores, const struct quota_row *row,
                         const struct drift *found)
{
    struct ledger_drift drift = {.tenant_id = row->tenant_id,
                                 .ref = row->ref,
                                 .drift = *found,
                                 .since_ms = stores_now_ms(stores)};
    enum status status;

    if (!may_change(own) || own->drifts_count == LEDGER_DRIFTS_MAX)
        return STATUS_OK; /* it is found again */
    own->changes++;
    status = stores->table->drift_put(stores->db, &stores->scratch, &drift, row);
    if (status != STATUS_OK)
        return status;
    own->drifts[own->drifts_count++] = drift;
    tell_log("began", &drift, drift.since_ms);
    return STATUS_OK;
}

static enum status go_on(struct reconcile *own, struct stores *stores, const struct quota_row *row,
                         const struct drift *found, struct ledger_drift *drift)
{
    struct ledger_drift next = *drift;
    enum status status;

    next.drift = *found;
    next.told |= drift_is_large(found, &row->stops) &&
                 stores_now_ms(stores) - drift->since_ms >= RECONCILE_TELL_MS;
    if (!may_change(own) || (next.told == drift->told && found->is == drift->drift.is &&
                             found->other == drift->drift.other))
        return STATUS_OK;
    own->changes++;
    status = stores->table->drift_put(stores->db, &stores->scratch, &next, row);
    if (status == STATUS_OK)
        *drift = next;
    return status;
}

static enum status end(struct reconcile *own, struct stores *stores, const struct quota_row *row,
                       struct ledger_drift *drift)
{
    enum status status;

    if (!may_change(own))
        return STATUS_OK;
    own->changes++;
    status = stores->table->drift_end(stores->db, &stores->scratch, drift, row);
    if (status != STATUS_OK)
        return status;
    tell_log("ended", drift, stores_now_ms(stores));
    *drift = own->drifts[--own->drifts_count];
    return STATUS_OK;
}

/* Would this look have found it, if it were still there? */
static bool would_show(const struct reconcile *own, const struct reconcile_look *look,
                       const struct ledger_sums *sums, enum drift_kind kind)
{
    switch (kind) {
    case DRIFT_LEASES:
        return true;
    case DRIFT_HOLDS:
        return sums->sums.holds_known;
    case DRIFT_LEDGER:
    case DRIFT_ENTRIES:
        return look->from == ENTRIES_FROM_LEDGER || (own->large && sums->sums.entries_known);
    case DRIFT_REDIS:
        return !look->without_redis && !look->degraded;
    }
    return true;
}

static enum status take_quota(struct reconcile *own, struct stores *stores,
                              const struct reconcile_look *look, const struct ledger_sums *sums)
{
    struct drift found[DRIFT_KINDS];
    size_t count = drift_find(&sums->sums, found);
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        struct ledger_drift *known = find(own, &sums->row, found[i].kind);

        status = known ? go_on(own, stores, &sums->row, &found[i], known)
                       : begin(own, stores, &sums->row, &found[i]);
    }
    for (int kind = 1; kind <= DRIFT_KINDS && status == STATUS_OK; kind++) {
        struct ledger_drift *known = find(own, &sums->row, (enum drift_kind)kind);
        bool still = !known || !would_show(own, look, sums, (enum drift_kind)kind);

        for (size_t i = 0; i < count; i++)
            still |= (int)found[i].kind == kind;
        if (!still)
            status = end(own, stores, &sums->row, known);
    }
    return status;
}

static enum status end_gone(struct reconcile *own, struct stores *stores,
                            const struct ledger_sums_key *key)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < own->drifts_count && status == STATUS_OK; i++)
        if (own->drifts[i].tenant_id == key->tenant_id &&
            quota_ref_equal(own->drifts[i].ref, key->ref))
            status = end(own, stores, NULL, &own->drifts[i]);
    return status;
}

/* --- Redis is behind -------------------------------------------------------------------------- */

/* True: it was behind at the last look as well, and nothing has moved since. */
static bool is_still_behind(struct reconcile *own, struct stores *stores,
                            const struct drift_sums *sums)
{
    const struct quota_row *row = sums->row;
    const struct drift_redis *redis = &sums->redis;
    const int64_t name[] = {row->tenant_id, row->ref.limit_id, row->ref.period_start_ms};
    const int64_t numbers[] = {row->lease_id,   row->granted,    row->returned,
                               row->spent,      row->ledger_seq, redis->granted,
                               redis->returned, redis->spent,    redis->used_seq};
    uint64_t key = hash_bytes(name, sizeof(name)), print = hash_bytes(numbers, sizeof(numbers));
    int64_t mono_us = stores_mono_us(stores);

    return still_look(own->behind, key, print, mono_us)->since_us < mono_us;
}

static void fill(struct stores *stores, const struct ledger_sums *sums)
{
    struct counter_totals totals = totals_from_row(&sums->row);
    struct counter_fill fill = {.call = {.kind = COUNTER_FILL,
                                         .view.shard = sums->row.shard,
                                         .arena = &stores->scratch},
                                .now_ms = stores_now_ms(stores),
                                .totals = &totals,
                                .totals_count = 1};
    struct counter_call *call = &fill.call;
    enum recovery reason;

    log_info("reconcile",
             "redis.told_again tenant=%" PRId64 " limit=%" PRId64 " spent=%" PRId64 " was=%" PRId64,
             sums->row.tenant_id, sums->row.ref.limit_id, sums->row.spent, sums->sums.redis.spent);
    if (!stores_run(stores, &call, 1, &reason))
        return; /* it is found again */
}

/* --- a turn ----------------------------------------------------------------------------------- */

static enum status look_at(struct reconcile *own, struct stores *stores,
                           struct reconcile_look *look)
{
    size_t fills = 0;
    enum status status = reconcile_look(stores, stores->db, &stores->scratch, look);

    for (size_t i = 0; i < look->count && status == STATUS_OK; i++) {
        const struct ledger_sums *sums = &look->sums[i];

        if (!sums->exists) {
            status = end_gone(own, stores, &look->keys[i]);
            continue;
        }
        if (drift_is_behind(&sums->sums) && is_still_behind(own, stores, &sums->sums) &&
            fills++ < FILLS_MAX)
            fill(stores, sums);
        status = take_quota(own, stores, look, sums);
    }
    return status;
}

static enum status look_at_page(struct reconcile *own, struct stores *stores,
                                struct ledger_key *after, bool lent)
{
    struct ledger_sums_page page = {.lent = lent, .after = *after, .max = PAGE_KEYS};
    struct reconcile_look look = {.from = ENTRIES_FROM_SEALS, .without_redis = !lent};
    struct ledger_sums_key *keys;
    bool exists;
    enum status status =
        stores->table->sums_list(stores->db, &stores->scratch, &page, &exists, &keys, &look.count);

    *after = (struct ledger_key){0};
    if (status != STATUS_OK)
        return status;
    look.keys = keys;
    if (look.count == PAGE_KEYS)
        *after = (struct ledger_key){keys[PAGE_KEYS - 1].tenant_id, keys[PAGE_KEYS - 1].ref};
    return look_at(own, stores, &look);
}

/* Quotas after this one, all of one tenant; none: it was the last. */
static enum status list_tenant(struct stores *stores, struct ledger_key after,
                               struct ledger_sums_key **ret, size_t *ret_count)
{
    struct ledger_sums_page page = {.after = after, .max = TENANT_KEYS};
    bool exists;
    size_t count = 0;
    enum status status =
        stores->table->sums_list(stores->db, &stores->scratch, &page, &exists, ret, ret_count);

    while (status == STATUS_OK && count < *ret_count &&
           (*ret)[count].tenant_id == (*ret)[0].tenant_id)
        count++;
    *ret_count = count;
    return status;
}

static bool is_under_way(const struct ledger_key *after)
{
    return after->tenant_id > 0;
}

/* Quotas with a drift and the others take turns. False: there is none to be looked at now. */
static bool choose_quotas(struct reconcile *own, int64_t mono_us, struct ledger_key *ret_after)
{
    own->drift_turn = !own->drift_turn && own->drifts_count > 0;
    if (own->drift_turn) {
        const struct ledger_drift *drift = &own->drifts[own->drift_at++ % own->drifts_count];

        *ret_after = (struct ledger_key){drift->tenant_id, drift->ref};
        ret_after->ref.period_start_ms--;
        return true;
    }
    if (!is_under_way(&own->entries) && mono_us < own->round_us)
        return false;
    if (!is_under_way(&own->entries))
        own->round_us = mono_us + RECONCILE_ROUND_MS * INT64_C(1000);
    *ret_after = own->entries;
    return true;
}

static void move_on(struct reconcile *own, const struct ledger_sums_key *keys, size_t count)
{
    if (own->drift_turn)
        return;
    own->entries = (struct ledger_key){0};
    if (count > 0)
        own->entries = (struct ledger_key){keys[count - 1].tenant_id, keys[count - 1].ref};
}

/* Of a tenant that has too many, what the seals say of them must do. */
static enum status look_at_entries(struct reconcile *own, struct stores *stores)
{
    int64_t mono_us = stores_mono_us(stores), entries = 0;
    struct reconcile_look look = {.from = ENTRIES_FROM_SEALS};
    struct ledger_sums_key *keys;
    struct ledger_key after;
    enum status status;

    if (!choose_quotas(own, mono_us, &after))
        return STATUS_OK;
    status = list_tenant(stores, after, &keys, &look.count);
    if (status != STATUS_OK)
        return status;
    move_on(own, keys, look.count);
    if (look.count == 0)
        return STATUS_OK;
    look.keys = keys;
    status = stores->table->sums_read(stores->db, &stores->scratch, keys, look.count,
                                      ENTRIES_FROM_SEALS, &look.sums);
    for (size_t i = 0; status == STATUS_OK && i < look.count; i++)
        entries += look.sums[i].row.ledger_seq > 0 ? look.sums[i].row.ledger_seq : 0;
    own->large = entries > ENTRIES_MAX;
    own->entries_us = own->large ? mono_us : mono_us + entries * 1000000 / ENTRIES_A_SECOND;
    if (!own->large)
        look.from = ENTRIES_FROM_LEDGER;
    if (status == STATUS_OK)
        status = look_at(own, stores, &look);
    own->large = false;
    return status;
}

static enum status know_drifts(struct reconcile *own, struct stores *stores)
{
    struct ledger_drift *drifts;
    size_t count;
    enum status status;

    if (own->known)
        return STATUS_OK;
    status = stores->table->drifts_read(stores->db, &stores->scratch, &drifts, &count);
    if (status != STATUS_OK)
        return status;
    memcpy(own->drifts, drifts, count * sizeof(*drifts));
    own->drifts_count = count;
    own->known = true;
    return STATUS_OK;
}

static enum status take_turn(struct reconcile *own, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    int64_t mono_us = stores_mono_us(stores);

    own->kind = (own->kind + 1) % 3;
    if (own->kind == 0)
        return tools->news->lent || is_under_way(&own->lent)
                   ? look_at_page(own, stores, &own->lent, true)
                   : STATUS_OK;
    if (own->kind == 1) {
        if (!is_under_way(&own->all) && mono_us < own->all_us)
            return STATUS_OK;
        if (!is_under_way(&own->all))
            own->all_us = mono_us + RECONCILE_ROUND_MS * INT64_C(1000);
        return look_at_page(own, stores, &own->all, false);
    }
    return mono_us < own->entries_us ? STATUS_OK : look_at_entries(own, stores);
}

static enum duty_end turn(void *user, struct duty_tools *tools)
{
    struct reconcile *own = user;
    struct services *services = tools->stores->services;
    enum status status;

    if (!estimate_ready(services->estimate) || !shares_own(services->shares, SHARES_HOUSE)) {
        own->known = false;
        return DUTY_DONE;
    }
    own->changes = 0;
    status = know_drifts(own, tools->stores);
    if (status == STATUS_OK)
        status = take_turn(own, tools);
    if (status == STATUS_OK)
        return DUTY_DONE;
    own->known = false;
    return duty_failed(tools, "reconcile", status);
}

const struct duty duty_reconcile = {.name = "reconcile",
                                    .every_ms = RECONCILE_EVERY_MS,
                                    .create = create,
                                    .destroy = destroy,
                                    .turn = turn};
