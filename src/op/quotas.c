#include "op/quotas.h"

static void from_limit(struct op_quota *quota, const struct limit *limit, struct quota_ref ref)
{
    quota->limit = limit;
    quota->limit_name = limit->name;
    quota->scope = limit->scope;
    quota->meter = limit->meter;
    quota->period = limit->period;
    quota->period_start_ms = ref.period_start_ms;
    quota->period_end_ms = period_end_ms(limit->period, ref.period_start_ms);
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

void quota_from_row(struct op_quota *quota, const struct plan *plan,
                    const struct settle_quota *row)
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
                                   .period_start_ms = row->ref.period_start_ms,
                                   .period_end_ms = row->period_end_ms};
    quota->stops = row->stops;
    quota->committed = row->committed;
    quota->debt = row->debt;
    quota->ledger_seq = row->ledger_seq;
    quota->held = row->pg_held + row->leased;
    quota->held_is_upper_bound = row->leased > 0;
}

void quota_set_held(struct op_quota *quota, const struct settle_quota *row,
                    const struct counter_quota *state, int64_t old_leases_units)
{
    if (row->leased > 0 && (!state->exists || state->lease_id != row->lease_id))
        return;
    quota->held = row->pg_held + (state->exists ? state->held : 0) + old_leases_units;
    quota->held_is_upper_bound = old_leases_units > 0;
}
