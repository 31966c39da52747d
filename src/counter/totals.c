#include "counter/totals.h"

void write_totals(struct request *request, const struct counter_totals *totals)
{
    request_ref(request, totals->ref);
    write_totals_numbers(request, totals);
}

void write_totals_numbers(struct request *request, const struct counter_totals *totals)
{
    request_int(request, totals->lease_id);
    request_int(request, totals->granted);
    request_int(request, totals->returned);
    request_int(request, totals->spent);
    request_int(request, totals->lease_deadline_ms);
    request_int(request, totals->used);
    request_int(request, totals->used_seq);
    request_int(request, totals->debt);
    request_int(request, totals->period_end_ms);
}

void read_totals(struct reply *reply, struct counter_totals *totals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        totals[i].took = (enum counter_took)reply_code(reply, TOTALS_ABSENT);
        reply_quota(reply, &totals[i].now);
    }
}

void read_below_zero(struct reply *reply, struct counter_call *call)
{
    int count = reply_code(reply, INT32_MAX);

    for (int i = 0; i < count && !reply->bad; i++) {
        struct slice key = reply_text(reply);

        if (i == 0)
            call->below_zero = key;
    }
}
