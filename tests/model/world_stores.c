#include "world_state.h"

#include "quota/lease.h"

#include <stdlib.h>
#include <string.h>

struct standin_totals world_totals(const struct quota_row *row, int64_t delta)
{
    return (struct standin_totals){row->ref,   row->lease_id, row->granted,
                                   row->returned, row->spent, row->lease_deadline_ms, delta};
}

void world_serve_recalls(struct world *world);

static void deliver(struct world *world, size_t at)
{
    struct message message = world->messages[at];

    if (world_one_in(world, 6)) {
        world->counts->notifies_again++; /* and stays: it comes again */
    } else {
        world->messages[at] = world->messages[--world->messages_count];
        if (world_one_in(world, 8)) {
            world->counts->notifies_lost++;
            return;
        }
    }
    if (message.epoch != world->redis.epoch)
        return; /* the guard of every script */
    for (size_t i = 0; i < message.count; i++)
        standin_totals(&world->redis, &message.totals[i]);
    if (message.job >= 0 && message.removed.epoch)
        standin_remove(&world->redis, message.job, message.removed);
    else if (message.job >= 0)
        standin_settle(&world->redis, message.job);
    if (world->prompt)
        world_serve_recalls(world);
}

struct message *world_post(struct world *world, int job)
{
    struct message *message;

    if (world->messages_count == MESSAGES_MAX)
        deliver(world, (size_t)world_below(world, MESSAGES_MAX));
    if (world->messages_count == MESSAGES_MAX)
        world->messages_count--;
    message = &world->messages[world->messages_count++];
    *message = (struct message){.epoch = world->epoch, .job = job};
    return message;
}

void world_deliver(struct world *world)
{
    while (world->messages_count > 0 && !world_one_in(world, 3))
        deliver(world, (size_t)world_below(world, (int64_t)world->messages_count));
}

void world_close_leases(struct world *world, struct quota_row *row)
{
    for (size_t i = 0; i < world->leases_count;) {
        struct lease_row *lease = &world->leases[i];

        if (world->mutant == MUTANT_OLD_LEASE_ENDS_AT_ONCE)
            lease->deadline_ms = 0;
        if (!quota_ref_equal(lease->ref, row->ref) || !lease_close(row, lease, world->now)) {
            i++;
            continue;
        }
        world->counts->closed_leases++;
        memmove(lease, lease + 1, (--world->leases_count - i) * sizeof(*lease));
    }
}

void world_begin_lease(struct world *world, struct quota_row *row)
{
    struct lease_row old;

    row->epoch = world->epoch;
    lease_begin(row, &old);
    if (old.lease_id == 0)
        return;
    CHECK(world->leases_count < LEASES_MAX);
    world->leases[world->leases_count++] = old;
    qsort(world->leases, world->leases_count, sizeof(old), world_lease_compare);
}

/* The granter: one quota, and its key filled. */
void world_grant(struct world *world, struct quota_ref ref, int64_t needed, int64_t deadline_ms)
{
    struct quota_row *row = world_row(world, ref);
    struct standin_totals totals;

    row->epoch = world->epoch;
    world_close_leases(world, row);
    if (lease_is_stale(row))
        world_begin_lease(world, row);
    lease_raise(row, needed, deadline_ms);
    totals = world_totals(row, 0);
    if (standin_grant(&world->redis, &totals) == STANDIN_VANISHED) {
        world_begin_lease(world, row);
        lease_raise(row, needed, deadline_ms);
        totals = world_totals(row, 0);
        world_expect(world, standin_grant(&world->redis, &totals) == STANDIN_FILLED,
               "a new lease fills its key");
    }
    if (world->messages_count < MESSAGES_MAX && world_one_in(world, 3)) {
        struct message *message = world_post(world, -1);

        message->totals[message->count++] = totals;
    }
    world_check_row(world, row);
}

void world_recall(struct world *world, struct quota_row *row)
{
    struct standin_totals totals = world_totals(row, 0);
    int64_t returned;

    row->epoch = world->epoch;
    if (lease_is_stale(row))
        return; /* nothing of it is in this Redis: it comes back by its deadline */
    world->counts->recalls++;
    returned = standin_recall(&world->redis, &totals);
    if (returned < 0 || (!world->prompt && world_one_in(world, 4)))
        return; /* another lease, or the answer was lost */
    lease_return(row, row->lease_id, returned);
    world_check_row(world, row);
}

void world_serve_recalls(struct world *world)
{
    for (size_t i = 0; i < world->rows_count; i++)
        if (world->rows[i].recall)
            world_recall(world, &world->rows[i]);
}

/* One transaction, then the script: the hold of a job is due. */
void world_reap(struct world *world, int job)
{
    const struct hold *hold = world->redis.holds[job];
    struct settle_facts *facts = &world->jobs[job].facts;

    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct quota_row *row = world_row(world, hold->quotas[i].quota);

        if (row->reaped_to_ms < world->now)
            row->reaped_to_ms = world->now;
    }
    if (!facts->record && !world_is_fenced(facts, hold->attempt))
        facts->expired = world_copy_hold(world, hold);
    if (world_one_in(world, 10))
        return; /* the script never ran: the next reap does it all again */
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct standin_totals totals = world_totals(world_row(world, hold->quotas[i].quota), 0);

        if (world->mutant != MUTANT_REAP_WITHOUT_SPENT)
            standin_totals(&world->redis, &totals);
    }
    standin_remove(&world->redis, job, hold->attempt);
}

void world_reap_due(struct world *world)
{
    for (int job = 0; job < world->jobs_count; job++)
        if (world->redis.holds[job] && world->redis.holds[job]->deadline_ms <= world->now)
            world_reap(world, job);
}
