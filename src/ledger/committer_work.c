#include "ledger/committer_work.h"

#include "base/stage.h"

#include <stdbool.h>

static bool carries_nothing(const void *owner)
{
    const struct work *work = owner;

    return work->batch.count == 0 && work->lane.state != LANE_BUSY;
}

static bool waits_for_batch(const void *owner)
{
    const struct work *work = owner;

    return work->batch.count > 0 && work->lane.state == LANE_BUSY;
}

static bool waits_for_nothing_else(const void *owner)
{
    const struct work *work = owner;

    return work->batch.count == 0 && work->lane.state == LANE_BUSY;
}

static const struct stage_rule phase_rules[] = {
    [PHASE_FREE] = {"free", STAGE(PHASE_ASKING), carries_nothing},
    [PHASE_ASKING] = {"asking", STAGE(PHASE_WRITING) | STAGE(PHASE_ROLLBACK) | STAGE(PHASE_FREE),
                      waits_for_batch},
    [PHASE_WRITING] = {"writing", STAGE(PHASE_ROLLBACK) | STAGE(PHASE_FREE), waits_for_batch},
    [PHASE_ROLLBACK] = {"rollback", STAGE(PHASE_FREE), waits_for_nothing_else},
};
static const struct stage_table phases = STAGE_TABLE("committer's work", phase_rules);

void work_go(struct work *work, enum phase to)
{
    stage_step(&phases, work->phase, to, work);
    work->phase = to;
}

/* Whose turn it is to wait in line; 0: nobody's. items begin with who waited longest ago. */
static int64_t choose_line(struct commit_item *const *items, size_t count,
                           const enum batch_way *ways)
{
    int64_t tenant_id = 0;

    for (size_t i = 0; i < count; i++) {
        if (ways[i] == BATCH_FREE)
            return 0;
        if (ways[i] == BATCH_LOCKED && tenant_id == 0)
            tenant_id = items[i]->settle.tenant_id;
    }
    return tenant_id;
}

/* Keeps the items that stay, and puts the others back, each where it was. */
static size_t part(struct queue *queue, struct commit_item **items, size_t count, const bool *stays)
{
    size_t kept = 0;

    for (size_t i = count; i-- > 0;)
        if (!stays[i])
            queue_put_back(queue, &items[i], 1);
    for (size_t i = 0; i < count; i++)
        if (stays[i])
            items[kept++] = items[i];
    return kept;
}

size_t work_keep_first(struct queue *queue, struct commit_item **items, size_t count,
                       int64_t now_us)
{
    int64_t tenant_id = items[0]->settle.tenant_id;
    bool stays[BATCH_ITEMS_MAX];

    CHECK(count > 0 && count <= BATCH_ITEMS_MAX);
    for (size_t i = 0; i < count; i++)
        stays[i] = items[i]->settle.tenant_id == tenant_id;
    queue_tries(queue, tenant_id, now_us);
    return part(queue, items, count, stays);
}

size_t work_choose_stuck(struct queue *queue, struct commit_item **items, size_t count,
                         const enum batch_way *ways, int64_t now_us)
{
    int64_t in_line = choose_line(items, count, ways);
    bool stays[BATCH_ITEMS_MAX];
    int64_t paused = 0;

    CHECK(count <= BATCH_ITEMS_MAX);
    for (size_t i = 0; i < count; i++) {
        int64_t tenant_id = items[i]->settle.tenant_id;

        stays[i] = ways[i] == BATCH_FREE || tenant_id == in_line;
        if (!stays[i] && tenant_id != paused) {
            queue_leave_out(queue, tenant_id, now_us);
            paused = tenant_id;
        }
    }
    if (in_line != 0)
        queue_tries(queue, in_line, now_us);
    return part(queue, items, count, stays);
}
