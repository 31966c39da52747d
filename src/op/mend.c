#include "op/mend.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/notify.h"
#include "op/trace.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARDS_PER_TURN = 64,
    TENANTS_PER_PAGE = 512,
    LOST_PER_TURN = 32,    /* tenants whose leases are set aside, a transaction each */
    REBUILD_STEPS = 32,    /* of the one tenant that is rebuilt */
    REBUILD_FIELDS = 512,  /* of a step */
    NAMES_PER_PAGE = 1000, /* of all tenants, when shards are listed anew */
};

_Static_assert((SHARDS + SHARDS_PER_TURN - 1) / SHARDS_PER_TURN * MEND_EVERY_MS <= MEND_ROUND_MS,
               "every shard has its turn in time");

struct mend {
    size_t next;                                    /* whose turn it is among the shards */
    char cursors[SHARDS][COUNTER_CURSOR_CHARS + 1]; /* of counter_check */
    bool broken[SHARDS];                            /* its list of tenants is not whole */
    struct rebuild {
        bool active;
        int shard;
        int64_t tenant_id;
        char cursor[COUNTER_CURSOR_CHARS + 1];
    } rebuild;
    struct listing {
        bool active;
        bool wanted[SHARDS]; /* the shards that were broken when it began */
        char after[NAME_BYTES_MAX + 1];
    } listing;
};

struct mend *mend_create(void)
{
    struct mend *mend = calloc(1, sizeof(*mend));

    CHECK(mend);
    for (int shard = 0; shard < SHARDS; shard++)
        mend->cursors[shard][0] = '0';
    return mend;
}

void mend_destroy(struct mend *mend)
{
    free(mend);
}

static bool run(struct stores *stores, struct counter_call *call, int shard)
{
    enum recovery reason;

    call->view.shard = shard;
    call->arena = &stores->scratch;
    return stores_run(stores, &call, 1, &reason);
}

/* --- quotas that are gone ---------------------------------------------------------------------- */

/* One transaction: the leases that Redis lost are set aside, where they still are the current ones. */
static bool set_aside(struct stores *stores, int shard, const struct counter_finding *finding,
                      struct ledger_grant **ret_grants)
{
    struct ledger_grant *grants = stores_scratch(stores, finding->quotas_count, sizeof(*grants));
    struct shard_view view;
    int64_t now_ms;
    enum status status;

    if (!authority_get(stores->services->authority, shard, &view))
        return false;
    for (size_t i = 0; i < finding->quotas_count; i++)
        grants[i] = (struct ledger_grant){.tenant_id = finding->tenant_id,
                                          .shard = shard,
                                          .epoch = view.epoch,
                                          .ref = finding->quotas[i].ref,
                                          .deadline_ms = 1, /* as it is */
                                          .over_too = true, /* its holds may live on */
                                          .vanished_lease_id = finding->quotas[i].lease_id};
    status = stores->table->grant_run(stores->db, &stores->scratch, grants, finding->quotas_count,
                                      &now_ms);
    if (status == STATUS_OK)
        trace_grants(stores->services->trace, now_ms, grants, finding->quotas_count);
    if (status == STATUS_CONFLICT)
        aside_put(stores->services->aside, finding->tenant_id, stores_mono_us(stores));
    *ret_grants = grants;
    return status == STATUS_OK;
}

/* Nothing will be lent of it any more. */
static bool is_over(const struct ledger_grant *grant, int64_t now_ms)
{
    return grant->missing || (!grant->epoch_changed && !grant->bad && now_ms > 0 &&
                              grant->quota.period_end_ms <= now_ms);
}

/* Redis hears of the leases that follow, and forgets the quotas that nothing is lent for any more. */
static bool fill_anew(struct stores *stores, int shard, const struct counter_finding *finding,
                      const struct ledger_grant *grants)
{
    struct counter_fill fill = {.call = {.kind = COUNTER_FILL}, .now_ms = stores_now_ms(stores)};
    struct counter_lost *over = stores_scratch(stores, finding->quotas_count, sizeof(*over));
    struct counter_forget forget = {.call = {.kind = COUNTER_FORGET},
                                    .tenant_id = finding->tenant_id,
                                    .quotas = over};

    fill.totals = stores_scratch(stores, finding->quotas_count, sizeof(*fill.totals));
    for (size_t i = 0; i < finding->quotas_count; i++) {
        if (is_over(&grants[i], fill.now_ms))
            over[forget.quotas_count++] = finding->quotas[i];
        else if (!grants[i].epoch_changed && !grants[i].bad)
            fill.totals[fill.totals_count++] = totals_from_row(&grants[i].quota);
    }
    return (fill.totals_count == 0 || run(stores, &fill.call, shard)) &&
           (forget.quotas_count == 0 || run(stores, &forget.call, shard));
}

static void mend_lost(struct stores *stores, int shard, const struct counter_finding *finding)
{
    struct ledger_grant *grants;

    if (aside_has(stores->services->aside, finding->tenant_id, stores_mono_us(stores)))
        return;
    log_error("mend",
              "redis.lost shard=%d tenant=%" PRId64 " quotas=%zu: what was held stays"
              " set aside until the leases end",
              shard, finding->tenant_id, finding->quotas_count);
    if (!set_aside(stores, shard, finding, &grants) || FAULT("mend.between") ||
        !fill_anew(stores, shard, finding, grants))
        log_warn("mend", "lost.put_off shard=%d tenant=%" PRId64, shard, finding->tenant_id);
}

/* --- what can be derived ------------------------------------------------------------------------ */

/* Fields of nobody would be counted as holds that no index has, for ever. */
static void begin_rebuild(struct mend *mend, struct stores *stores, int shard, int64_t tenant_id)
{
    if (mend->rebuild.active)
        return; /* it is found again */
    /* Without it the index made anew would hide that a hold is lost. */
    if (!stores_clean(stores, shard, &tenant_id, 1, "what is counted differs from what is there"))
        return; /* it is found again */
    log_error("mend", "redis.lost shard=%d tenant=%" PRId64 ": an index; it is made anew", shard,
              tenant_id);
    mend->rebuild =
        (struct rebuild){.active = true, .shard = shard, .tenant_id = tenant_id, .cursor = "0"};
}

static bool go_on_rebuilding(struct mend *mend, struct stores *stores)
{
    struct rebuild *rebuild = &mend->rebuild;

    for (int step = 0; step < REBUILD_STEPS && rebuild->active; step++) {
        struct counter_rebuild call = {.call = {.kind = COUNTER_REBUILD},
                                       .tenant_id = rebuild->tenant_id,
                                       .max = REBUILD_FIELDS};

        memcpy(call.cursor, rebuild->cursor, sizeof(call.cursor));
        if (FAULT("mend.rebuild") || !run(stores, &call.call, rebuild->shard)) {
            rebuild->active = false; /* it is found again, and begun anew */
            return false;
        }
        memcpy(rebuild->cursor, call.cursor, sizeof(call.cursor));
        rebuild->active = strcmp(call.cursor, "0") != 0;
    }
    return true;
}

/* --- lists of tenants ---------------------------------------------------------------------------- */

static void begin_listing(struct mend *mend)
{
    if (mend->listing.active)
        return;
    memset(&mend->listing, 0, sizeof(mend->listing));
    for (int shard = 0; shard < SHARDS; shard++) {
        mend->listing.wanted[shard] = mend->broken[shard];
        mend->listing.active |= mend->broken[shard];
    }
}

/* Those of the page that are the shard's. */
static bool register_some(struct stores *stores, int shard, const struct ledger_tenant *tenants,
                          size_t count, bool last, size_t *missing)
{
    int64_t *ids = stores_scratch(stores, count, sizeof(*ids));
    struct counter_register call = {.call = {.kind = COUNTER_REGISTER},
                                    .tenants = ids,
                                    .last = last};

    for (size_t i = 0; i < count; i++)
        if (plan_shard(tenants[i].tenant) == shard)
            ids[call.tenants_count++] = tenants[i].tenant_id;
    if (call.tenants_count == 0 && !last)
        return true;
    if (!run(stores, &call.call, shard))
        return false;
    *missing += call.missing;
    return true;
}

/* A page of all tenants, in the order of their names. */
static bool go_on_listing(struct mend *mend, struct stores *stores)
{
    struct listing *listing = &mend->listing;
    struct ledger_tenant *tenants;
    size_t count, missing = 0;
    bool ok = stores->table->tenant_list(stores->db, &stores->scratch, SLICE(""),
                                         slice_from_cstr(listing->after), NAMES_PER_PAGE, &tenants,
                                         &count) == STATUS_OK;
    bool last = ok && count < NAMES_PER_PAGE;

    for (int shard = 0; ok && shard < SHARDS; shard++)
        if (listing->wanted[shard]) {
            ok = register_some(stores, shard, tenants, count, last, &missing);
            if (ok && last)
                mend->broken[shard] = false;
        }
    if (missing > 0)
        log_error("mend", "redis.lost tenants=%zu: a shard's list of them; it is made anew",
                  missing);
    if (ok && !last)
        snprintf(listing->after, sizeof(listing->after), "%.*s",
                 SLICE_ARGS(tenants[count - 1].tenant));
    listing->active = ok && !last;
    return ok;
}

/* --- looking ------------------------------------------------------------------------------------- */

static void take_finding(struct mend *mend, struct stores *stores, int shard,
                         const struct counter_finding *finding, size_t *lost)
{
    switch (finding->kind) {
    case FINDING_LOST:
        if (++*lost <= LOST_PER_TURN)
            mend_lost(stores, shard, finding);
        break;
    case FINDING_DERIVED:
        begin_rebuild(mend, stores, shard, finding->tenant_id);
        break;
    case FINDING_UNREADABLE:
        stores_clean(stores, shard, &finding->tenant_id, 1, "found by a look");
        break;
    case FINDING_HELD:
        log_error("mend",
                  "held.put_right shard=%d tenant=%" PRId64 " quotas=%zu: H was not what the"
                  " holds add up to",
                  shard, finding->tenant_id, finding->quotas_count);
        break;
    }
}

static bool look(struct mend *mend, struct stores *stores, const int *shards, size_t count)
{
    struct counter_check *checks = stores_scratch(stores, count, sizeof(*checks));
    struct counter_call **calls = stores_scratch(stores, count, sizeof(struct counter_call *));
    enum recovery reason;
    size_t lost = 0;
    bool all;

    for (size_t i = 0; i < count; i++) {
        checks[i] = (struct counter_check){.call = {.kind = COUNTER_CHECK,
                                                    .view.shard = shards[i],
                                                    .arena = &stores->scratch},
                                           .now_ms = stores_now_ms(stores),
                                           .max = TENANTS_PER_PAGE};
        memcpy(checks[i].cursor, mend->cursors[shards[i]], sizeof(checks[i].cursor));
        calls[i] = &checks[i].call;
    }
    all = stores_run(stores, calls, count, &reason);
    for (size_t i = 0; i < count; i++) {
        if (calls[i]->status != STATUS_OK || calls[i]->guard != GUARD_PASSED)
            continue;
        memcpy(mend->cursors[shards[i]], checks[i].cursor, sizeof(checks[i].cursor));
        mend->broken[shards[i]] = !checks[i].whole;
        for (size_t k = 0; k < checks[i].findings_count; k++)
            take_finding(mend, stores, shards[i], &checks[i].findings[k], &lost);
    }
    return all;
}

bool mend_turn(struct mend *mend, struct stores *stores, const int *shards, size_t shards_count,
               bool *ret_more)
{
    int turn[SHARDS_PER_TURN];
    size_t count = shards_count < SHARDS_PER_TURN ? shards_count : SHARDS_PER_TURN;
    bool ok = true;

    *ret_more = false;
    if (count == 0)
        return true;
    /* What is begun goes first; a look beside it would only find it again. */
    if (!mend->rebuild.active && !mend->listing.active) {
        for (size_t i = 0; i < count; i++)
            turn[i] = shards[(mend->next + i) % shards_count];
        mend->next = (mend->next + count) % shards_count;
        ok = look(mend, stores, turn, count);
        begin_listing(mend);
    }
    if (mend->rebuild.active)
        ok = go_on_rebuilding(mend, stores) && ok;
    if (mend->listing.active)
        ok = go_on_listing(mend, stores) && ok;
    *ret_more = ok && (mend->rebuild.active || mend->listing.active);
    return ok;
}
