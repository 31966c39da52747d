#include "ledger/entries.h"

void entries_read(struct sql_row *row, struct chain_entry *ret)
{
    int64_t *numbers = NULL;

    *ret = (struct chain_entry){.tenant_id = sql_i64(row)};
    ret->job_id = sql_text(row);
    ret->entry = sql_i64(row);
    ret->attempt.epoch = sql_i64(row);
    ret->attempt.seq = sql_i64(row);
    ret->scope = sql_text(row);
    ret->meter = sql_text(row);
    ret->asked_given = !sql_is_null(row);
    ret->asked = sql_i64_or(row, 0);
    ret->amount = sql_i64(row);
    ret->debt = sql_i64(row);
    ret->held = sql_i64(row);
    ret->late = sql_bool(row);
    ret->at_ms = sql_time_ms(row);
    ret->numbers_count = sql_i64s(row, &numbers);
    ret->numbers = numbers;
    ret->change.kind = sql_i64(row);
    ret->change.id = sql_text(row);
    ret->change.left = sql_i64(row);
    numbers = NULL;
    ret->change.closed_count = sql_i64s(row, &numbers);
    ret->change.closed = numbers;
    ret->change.reason = sql_text(row);
}
