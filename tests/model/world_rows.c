#include "world_state.h"

#include "quota/lease.h"

#include <stdio.h>
#include <string.h>

const char *const world_meters[MODEL_METERS] = {"tokens", "requests", "free"};

static uint64_t next(struct world *world)
{
    uint64_t z = world->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int64_t world_below(struct world *world, int64_t bound)
{
    return (int64_t)(next(world) % (uint64_t)bound);
}

bool world_one_in(struct world *world, int64_t n)
{
    return world_below(world, n) == 0;
}

void world_fail(struct world *world, const char *what)
{
    if (world->failed)
        return;
    world->failed = true;
    snprintf(world->complaint, sizeof(world->complaint), "%s%s%s", what,
             world->model.complaint[0] ? ": " : "", world->model.complaint);
}

void world_expect(struct world *world, bool holds, const char *what)
{
    if (!holds)
        world_fail(world, what);
}

int64_t world_seq(struct attempt attempt)
{
    return attempt.epoch << 32 | attempt.seq;
}

struct hold *world_copy_hold(struct world *world, const struct hold *hold)
{
    char *text = hold_text(&world->arena, hold);
    struct hold *copy = NULL;

    CHECK(text && hold_parse(&world->arena, slice_from_cstr(text), &copy));
    return copy;
}

struct quota_row *world_row(struct world *world, struct quota_ref ref)
{
    for (size_t i = 0; i < world->rows_count; i++)
        if (quota_ref_equal(world->rows[i].ref, ref))
            return &world->rows[i];
    return NULL;
}

struct stops world_stops(const struct model_limit *limit)
{
    return (struct stops){limit->soft, limit->amount, limit->cap, limit->unlimited};
}

static void make_row(struct world *world, struct quota_ref ref)
{
    const struct limit *limit = plan_limit(world->plan, ref.limit_id);
    const struct model_limit *model_limit = &world->model.limits[ref.limit_id];
    size_t at = world->rows_count++;

    CHECK(world->rows_count <= ROWS_MAX);
    while (at > 0 && quota_ref_compare(ref, world->rows[at - 1].ref) < 0) {
        world->rows[at] = world->rows[at - 1];
        at--;
    }
    world->rows[at] = (struct quota_row){
        .tenant_id = TENANT,
        .ref = ref,
        .meter = limit->meter,
        .period = limit->period,
        .period_end_ms = period_end_ms(limit->period, ref.period_start_ms),
        .stops = world_stops(model_limit),
        .state = QUOTA_OPEN,
        .epoch = world->epoch,
    };
    world->rows[at].lease_target = lease_target(&world->rows[at].stops, 0);
}

void world_make_rows(struct world *world, const struct quota_ref *refs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!world_row(world, refs[i]))
            make_row(world, refs[i]);
}

int world_lease_compare(const void *a, const void *b)
{
    const struct lease_row *left = a;
    const struct lease_row *right = b;
    int order = quota_ref_compare(left->ref, right->ref);

    return order ? order : (left->lease_id > right->lease_id) - (left->lease_id < right->lease_id);
}

struct transaction *world_begin(struct world *world, const struct quota_ref *refs, size_t count)
{
    static struct transaction transaction;

    transaction.book = (struct book){
        .arena = &world->arena,
        .now_ms = world->now,
        .late_window_ms = MODEL_LATE_WINDOW_MS,
        .quotas = transaction.quotas,
        .leases = transaction.leases,
    };
    world_make_rows(world, refs, count);
    for (size_t i = 0; i < world->rows_count; i++) {
        struct quota_row *quota = &transaction.quotas[transaction.book.quotas_count];

        for (size_t j = 0; j < count; j++) {
            if (!quota_ref_equal(refs[j], world->rows[i].ref))
                continue;
            *quota = world->rows[i];
            quota->dirty = false;
            quota->epoch = world->epoch;
            transaction.book.quotas_count++;
            break;
        }
    }
    for (size_t i = 0; i < world->leases_count; i++) {
        if (!book_find_quota(&transaction.book, TENANT, world->leases[i].ref))
            continue;
        transaction.leases[transaction.book.leases_count] = world->leases[i];
        transaction.leases[transaction.book.leases_count++].dirty = false;
    }
    return &transaction;
}

void world_check_row(struct world *world, const struct quota_row *row)
{
    int64_t leased = row->granted - row->returned - row->spent;
    const struct standin_key *key = standin_key(&world->redis, row->ref);

    for (size_t i = 0; i < world->leases_count; i++) {
        const struct lease_row *lease = &world->leases[i];

        if (quota_ref_equal(lease->ref, row->ref))
            leased += lease->granted - lease->returned - lease->spent;
    }
    world_expect(world, leased == row->leased, "leased is not the sum of the leases");
    world_expect(world,
           !key->exists || key->lease_id != row->lease_id ||
               (key->spent <= row->spent && key->granted <= row->granted),
           "Redis is ahead of Postgres");
    world_expect(world, key->held >= 0, "H is below zero");
    if (row->state != QUOTA_CLOSED)
        world_expect(world,
               model_quota(&world->model, (int)row->ref.limit_id, row->ref.period_start_ms,
                           row->committed, row->debt, row->leased, row->ledger_seq),
               "row");
}

static bool same_but_mark(const struct quota_row *a, const struct quota_row *b)
{
    struct quota_row copy = *b;

    copy.dirty = a->dirty;
    copy.epoch = a->epoch;
    return memcmp(a, &copy, sizeof(copy)) == 0;
}

/* Writes back what is dirty, and requires that exactly that has changed. */
void world_end(struct world *world, struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->book.quotas_count; i++) {
        struct quota_row *quota = &transaction->quotas[i];
        struct quota_row *row = world_row(world, quota->ref);

        world_expect(world, quota->dirty != same_but_mark(quota, row),
               "dirty is not whether a row has changed");
        *row = *quota;
    }
    for (size_t i = 0; i < transaction->book.leases_count; i++) {
        for (size_t j = 0; j < world->leases_count; j++) {
            struct lease_row *lease = &world->leases[j];

            if (world_lease_compare(lease, &transaction->leases[i]) != 0)
                continue;
            world_expect(world, (lease->spent != transaction->leases[i].spent ||
                                 lease->returned != transaction->leases[i].returned) ==
                              transaction->leases[i].dirty,
                   "dirty is not whether a lease has changed");
            *lease = transaction->leases[i];
        }
    }
    for (size_t i = 0; i < transaction->book.quotas_count && !world->failed; i++)
        world_check_row(world, world_row(world, transaction->quotas[i].ref));
}

void world_take_events(struct world *world, const struct book *book, int late_expected)
{
    int late = 0;

    for (const struct event_row *event = book->events; event; event = event->next) {
        world->counts->events++;
        if (event->kind == EVENT_LATE_COMMIT) {
            late++;
            continue;
        }
        world_expect(world,
               model_event(&world->model, (int)event->quota->ref.limit_id,
                           event->quota->ref.period_start_ms, (int)event->kind - EVENT_SOFT_STOP,
                           event->direction == 1),
               "event");
    }
    world_expect(world, late == late_expected, "one LATE_COMMIT for each late commit");
}
