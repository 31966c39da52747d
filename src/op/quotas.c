#include "op/quotas.h"

#include "base/amount.h"
#include "quota/lease.h"

static void from_limit(struct op_quota *quota, const struct limit *limit, struct quota_ref ref)
{
    quota->limit = limit;
    quota->limit_name = limit->name;
    quota->scope = limit->scope;
    quota->meter = limit->meter;
    quota->period = limit->period;
    quota->period_start_ms = ref.period_start_ms;
    quota->period_end_ms = limit_end_ms(limit, ref.period_start_ms);
    quota->stops = (struct stops){.soft = limit->soft,
                                  .amount = limit->amount,
                                  .cap = limit->cap,
                                  .unlimited = limit->unlimited};
}

void quota_from_counter(struct op_quota *quota, const struct limit *limit, struct quota_ref ref,
                        const struct counter_quota *state)
{
    *quota = (struct op_quota){0};
    from_limit(quota, limit, ref);
    quota->committed = state->used - state->debt;
    quota->debt = state->debt;
    quota->held = state->held;
    quota->ledger_seq = state->used_seq;
}

void quota_from_row(struct op_quota *quota, const struct plan *plan, const struct quota_row *row)
{
    const struct limit *limit = plan ? plan_limit(plan, row->ref.limit_id) : NULL;

    *quota = (struct op_quota){0};
    if (limit)
        from_limit(quota, limit, row->ref);
    else
        *quota = (struct op_quota){.limit_name = row->limit_name,
                                   .scope = row->scope,
                                   .meter = row->meter,
                                   .period = row->period,
                                   .period_start_ms = row->ref.period_start_ms};
    quota->period_end_ms = row->period_end_ms;
    quota->stops = row->stops;
    quota->committed = row->committed;
    quota->debt = row->debt;
    quota->ledger_seq = row->ledger_seq;
    quota_set_lent(quota, row);
}

/* Out under the lease that Redis may admit from now. */
static int64_t lent_now(const struct quota_row *row)
{
    return lease_is_stale(row) ? 0 : row->granted - row->returned - row->spent;
}

void quota_set_lent(struct op_quota *quota, const struct quota_row *row)
{
    int64_t lent = lent_now(row);

    quota->held = row->pg_held + lent;
    quota->held_is_upper_bound = lent > 0;
    quota->set_aside = row->leased - lent;
    quota->set_aside_until_ms =
        quota->set_aside > 0 && lease_is_stale(row) ? row->lease_deadline_ms : 0;
}

void quota_set_held(struct op_quota *quota, const struct quota_row *row,
                    const struct counter_quota *state)
{
    int64_t lent = lent_now(row);
    bool same = state->lease_id == row->lease_id && !lease_is_stale(row);

    quota->held = row->pg_held + (same && state->exists ? state->held : 0);
    quota->held_is_upper_bound = false;
    if (state->exists || !same || lent == 0)
        return;
    /* Filled with this lease, and the key is gone: the next who touches it sets the lease aside. */
    quota->set_aside += lent;
    quota->set_aside_until_ms = amount_max(quota->set_aside_until_ms, row->lease_deadline_ms);
}
