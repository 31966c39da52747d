#include "ledger/limit_rows.h"

#include "base/amount.h"

enum { SOFT_PERCENT_DEFAULT = 90 };

void limit_row_read(struct sql_row *row, struct ledger_limit *limit)
{
    limit->limit_id = sql_i64(row);
    limit->limit_name = sql_text(row);
    limit->scope = sql_text(row);
    limit->meter = sql_text(row);
    limit->period = (enum period)sql_i64(row);
    limit->unlimited = sql_bool(row);
    limit->amount = sql_i64(row);
    limit->soft_percent = (int)sql_i64(row);
    limit->overage_kind = (enum overage_kind)sql_i64(row);
    limit->overage = sql_i64(row);
    limit->max_ttl_ms = sql_i64(row);
    limit->version = sql_i64(row);
    limit->implicit = sql_bool(row);
}

static int64_t cap_of(const struct ledger_limit *limit)
{
    switch (limit->overage_kind) {
    case OVERAGE_NONE:
        return limit->amount;
    case OVERAGE_UNITS:
        return amount_add_saturated(limit->amount, limit->overage);
    case OVERAGE_PERCENT:
        return amount_add_saturated(limit->amount,
                                    amount_mul_percent_floor(limit->amount, limit->overage));
    case OVERAGE_UNLIMITED:
        return AMOUNT_MAX;
    }
    UNREACHABLE();
}

struct stops limit_stops(const struct ledger_limit *limit)
{
    int soft_percent = limit->soft_percent ? limit->soft_percent : SOFT_PERCENT_DEFAULT;

    if (limit->unlimited)
        return (struct stops){
            .soft = AMOUNT_MAX, .amount = AMOUNT_MAX, .cap = AMOUNT_MAX, .unlimited = true};
    return (struct stops){
        .soft = amount_mul_percent_ceil(limit->amount, soft_percent),
        .amount = limit->amount,
        .cap = cap_of(limit),
    };
}
