#include "quota/reserved.h"

#include "base/amount.h"

int reached_compare(struct reached_name a, struct reached_name b)
{
    if (a.lease_id != b.lease_id)
        return a.lease_id < b.lease_id ? -1 : 1;
    return (a.n > b.n) - (a.n < b.n);
}

static void tell(struct book *book, struct quota_row *quota, int before, int after,
                 const struct reached *now)
{
    struct crossing crossings[CROSSINGS_MAX];
    size_t count = threshold_between(before, after, crossings);

    for (size_t i = 0; i < count; i++) {
        struct event_row *event = book_event(book, quota->tenant_id, crossings[i].kind,
                                             (struct slice){NULL, 0}, (struct attempt){0});

        event->direction = crossings[i].up ? 1 : 2;
        event->quota = quota;
        event->committed = now->used - now->debt;
        event->debt = now->debt;
        event->ledger_seq = amount_max(now->used_seq - quota->seq_lost, 0);
        event->level = threshold_level(&now->stops, now->used);
        event->reserved = true;
        event->stops = now->stops;
        event->held = now->held;
    }
}

bool reserved_apply(struct book *book, struct quota_row *quota, struct reserved_level *level,
                    const struct reached *reached, size_t count)
{
    bool changed = false;

    for (size_t i = 0; i < count; i++) {
        int after = quota->stops.unlimited ? 0 : reached[i].level;

        if (reached_compare(reached[i].name, level->last) <= 0)
            continue;
        tell(book, quota, level->level, after, &reached[i]);
        *level = (struct reserved_level){reached[i].name, after};
        changed = true;
    }
    return changed;
}

bool reserved_drop(struct book *book, struct quota_row *quota, struct reserved_level *level)
{
    const struct reached now = {.stops = quota->stops,
                                .used = quota->committed + quota->debt,
                                .used_seq = quota_told_seq(quota),
                                .debt = quota->debt};
    int before = level->level;

    level->level = 0;
    tell(book, quota, before, 0, &now);
    return before != 0;
}
