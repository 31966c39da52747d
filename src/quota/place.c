#include "quota/place.h"

#include "base/amount.h"

#include <string.h>

/* With these units, as far as nobody asks Redis. */
static int64_t projected(const struct quota_row *quota, int64_t units)
{
    return quota->committed + quota->debt + quota->pg_held + quota->leased + units;
}

static int64_t stop_of(const struct quota_row *quota, bool deferrable)
{
    return deferrable && !quota->stops.unlimited ? quota->stops.soft : quota->stops.cap;
}

static bool is_open(const struct book *book, const struct quota_row *quota)
{
    return quota && quota->state == QUOTA_OPEN && book->now_ms < quota->period_end_ms;
}

/* False: PLACE_GONE or PLACE_SHORT. */
static bool fits(struct book *book, struct place *place)
{
    const struct hold *wanted = place->wanted;

    place->certain = false;
    place->end = PLACE_OPEN;
    for (size_t i = 0; i < wanted->quotas_count; i++) {
        const struct hold_quota *held = &wanted->quotas[i];
        struct quota_row *quota = book_find_quota(book, place->tenant_id, held->quota);
        int64_t stop;

        if (!is_open(book, quota)) {
            place->end = PLACE_GONE;
            return false;
        }
        stop = stop_of(quota, place->deferrable);
        if (projected(quota, held->units) <= stop)
            continue;
        place->end = PLACE_SHORT;
        place->certain |= projected(quota, held->units) - quota->leased > stop;
    }
    return place->end == PLACE_OPEN;
}

/* Why a quota warns is kept in the hold, as Redis keeps it. */
static void warn(struct book *book, struct hold *hold, size_t i, const struct quota_row *quota)
{
    int64_t use = projected(quota, 0);

    if (quota->stops.unlimited || use < quota->stops.soft ||
        quota->limit_name.len > NAME_BYTES_MAX || quota->scope.len > hold->scope.len)
        return;
    if (!hold->warnings)
        hold->warnings = arena_array(book->arena, hold->quotas_count, sizeof(*hold->warnings));
    CHECK(hold->warnings);
    hold->warnings[i] = (struct hold_warning){
        .limit_name = quota->limit_name,
        .scope_len = quota->scope.len,
        .projected = use,
        .soft = quota->stops.soft,
        .amount = quota->stops.amount,
        .cap = quota->stops.cap,
    };
}

/* Above every attempt of the job in Postgres, in whatever epoch. */
static int64_t next_seq(const struct book *book, const struct settle_facts *facts)
{
    int64_t seq = HOLD_SEQ_POSTGRES + book->now_ms;

    for (size_t i = 0; i < facts->fences_count; i++)
        seq = amount_max(seq,
                         attempt_is_in_postgres(facts->fences[i]) ? facts->fences[i].seq + 1 : 0);
    if (facts->expired && attempt_is_in_postgres(facts->expired->attempt))
        seq = amount_max(seq, facts->expired->attempt.seq + 1);
    return seq;
}

static void take(struct book *book, struct place *place)
{
    struct hold *hold = arena_zalloc(book->arena, sizeof(*hold));

    CHECK(hold);
    *hold = *place->wanted;
    hold->warnings = NULL;
    hold->attempt = (struct attempt){0, next_seq(book, place->facts)};
    hold->created_ms = book->now_ms;
    hold->deadline_ms = book->now_ms + place->ttl_ms;
    hold->quotas = arena_array(book->arena, hold->quotas_count, sizeof(*hold->quotas));
    CHECK(hold->quotas);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct hold_quota *held = &hold->quotas[i];
        struct quota_row *quota;

        *held = place->wanted->quotas[i];
        held->lease_id = 0;
        quota = book_find_quota(book, place->tenant_id, held->quota);
        quota->pg_held += held->units;
        quota->dirty = true;
        hold->attempt.epoch = amount_max(hold->attempt.epoch, quota->epoch);
        warn(book, hold, i, quota);
        book_check(book, quota);
    }
    place->facts->placed = hold;
    place->hold = hold;
    place->end = PLACE_TAKEN;
}

void place_decide(struct book *book, struct place *place)
{
    const struct settle_facts *facts = place->facts;

    place->hold = facts->placed;
    place->certain = false;
    if (book_is_bad(book, place->tenant_id))
        place->end = PLACE_INCONSISTENT;
    else if (facts->record)
        place->end = PLACE_COMMITTED;
    else if (facts->placed_unreadable)
        place->end = PLACE_UNREADABLE;
    else if (facts->placed)
        place->end = facts->placed->deadline_ms > book->now_ms ? PLACE_STANDS : PLACE_DUE;
    else if (fits(book, place))
        take(book, place);
}

void place_extend(struct book *book, struct place_move *move)
{
    const struct hold *placed = move->facts->placed;
    struct hold *hold;
    int64_t deadline_ms;

    move->hold = placed;
    move->end = move->facts->placed_unreadable ? PLACE_MOVE_UNREADABLE : PLACE_MOVE_NONE;
    if (!placed || (move->attempt.seq != 0 && attempt_compare(placed->attempt, move->attempt) != 0))
        return;
    if (placed->deadline_ms <= book->now_ms) {
        move->end = PLACE_MOVE_DUE;
        return;
    }
    deadline_ms = amount_min(book->now_ms + move->ttl_ms, placed->created_ms + move->lifetime_ms);
    hold = arena_zalloc(book->arena, sizeof(*hold));
    CHECK(hold);
    *hold = *placed;
    hold->deadline_ms = amount_max(placed->deadline_ms, deadline_ms);
    move->facts->placed = move->hold = hold;
    move->end = PLACE_MOVED;
}

bool place_reap(struct book *book, int64_t tenant_id, struct settle_facts *facts,
                struct attempt attempt)
{
    const struct hold *placed = facts->placed;

    if (!placed || attempt_compare(placed->attempt, attempt) != 0 ||
        placed->deadline_ms > book->now_ms || book_is_bad(book, tenant_id) ||
        !settle_let_go(book, tenant_id, placed))
        return false;
    facts->placed = NULL;
    return true;
}
