/*
 * Extends of holds in Postgres, and of those in no store: one transaction for all, and no script. By job
 * alone, where the tenant has holds there or Redis cannot be asked, the job's row is looked for first;
 * without one, Redis is next.
 */
#include "op/extend_turn.h"

#include "base/check.h"
#include "op/ask.h"
#include "op/aside.h"
#include "op/dirty.h"
#include "op/redis.h"
#include "quota/token.h"

/* One of the turn, with what is asked for it. */
struct moving {
    struct turn *turn;
    struct ledger_move *move;
};

static bool names_placed(const struct turn *turn)
{
    return turn->op->token && attempt_is_in_postgres(turn->op->token->hold.attempt);
}

static bool names_open(const struct turn *turn)
{
    return turn->op->token && attempt_is_open(turn->op->token->hold.attempt);
}

/*
 * No store counts it (open.h), so only its token can last longer, and nothing is to be had for that: whether
 * it has ended is all that is asked.
 */
static void move_open(struct turn *turn, const struct ask *ask)
{
    const struct hold *old = &turn->op->token->hold;
    int64_t deadline_ms;
    struct hold *hold;

    if (ask->status != STATUS_OK) {
        op_fail_status(&turn->op->op, ask->status, ask->sqlstate, EXTEND_UNCHANGED);
    } else if (ask->facts.record) {
        turn_end(turn, EXTEND_COMMITTED);
        turn->op->op.error.record = ask->facts.record;
    } else if (settle_is_fenced(&ask->facts, old->attempt)) {
        turn_end(turn, EXTEND_RELEASED);
    } else if (old->deadline_ms <= turn->op->op.now_ms) {
        turn_end(turn, EXTEND_EXPIRED);
    } else {
        turn->placed = true;
        turn->wanted_ms = turn_wanted_ms(turn);
        deadline_ms = turn_last_ms(turn, old);
        deadline_ms = deadline_ms < turn->wanted_ms ? deadline_ms : turn->wanted_ms;
        hold = arena_zalloc(turn->op->op.arena, sizeof(*hold));
        CHECK(hold);
        *hold = *old;
        hold->deadline_ms = deadline_ms > old->deadline_ms ? deadline_ms : old->deadline_ms;
        turn->found = hold;
    }
}

static void move_all_open(struct stores *stores, struct turn *turns, size_t count)
{
    struct ask *asks = stores_scratch(stores, count, sizeof(*asks));
    struct turn **asking = stores_scratch(stores, count, sizeof(struct turn *));
    size_t asked = 0;

    for (size_t i = 0; i < count; i++) {
        if (!turn_is_open(&turns[i]) || !names_open(&turns[i]))
            continue;
        asks[asked] = (struct ask){.tenant_id = turns[i].op->op.plan->tenant_id,
                                   .job_id = turns[i].op->job_id};
        asking[asked++] = &turns[i];
    }
    ask_record(stores, asks, asked);
    for (size_t i = 0; i < asked; i++)
        move_open(asking[i], &asks[i]);
}

static bool may_be_placed(struct stores *stores, const struct turn *turn)
{
    struct services *services = stores->services;

    return !turn->op->token &&
           (redis_is_away(services) ||
            dirty_has(services->dirty, turn->op->op.plan->tenant_id, stores_mono_us(stores)));
}

/*
 * By job alone: what does it hold in Postgres? Whoever cannot be asked about goes to Redis. So does a row
 * that is due: it says nothing about a newer attempt.
 */
static void look_for(struct stores *stores, struct turn *turns, size_t count)
{
    struct ask *asks = stores_scratch(stores, count, sizeof(*asks));
    struct turn **asking = stores_scratch(stores, count, sizeof(struct turn *));
    size_t asked = 0;

    for (size_t i = 0; i < count; i++) {
        if (!turn_is_open(&turns[i]) || !may_be_placed(stores, &turns[i]))
            continue;
        asks[asked] = (struct ask){.tenant_id = turns[i].op->op.plan->tenant_id,
                                   .job_id = turns[i].op->job_id};
        asking[asked++] = &turns[i];
    }
    ask_record(stores, asks, asked);
    for (size_t i = 0; i < asked; i++)
        if (asks[i].status == STATUS_OK && !asks[i].facts.record &&
            turn_is_placed(asking[i], &asks[i].facts))
            asking[i]->found = asks[i].facts.placed;
}

bool turn_is_placed(const struct turn *turn, const struct settle_facts *facts)
{
    return facts->placed && facts->placed->deadline_ms > turn->op->op.now_ms;
}

static struct ledger_move move_for(struct stores *stores, struct turn *turn)
{
    const struct op_extend *op = turn->op;

    turn->wanted_ms = turn_wanted_ms(turn);
    return (struct ledger_move){.move = {.tenant_id = op->op.plan->tenant_id,
                                         .job_id = op->job_id,
                                         .attempt = turn_hold(turn)->attempt,
                                         .ttl_ms = turn->wanted_ms - op->op.now_ms,
                                         .lifetime_ms = stores->services->options.lifetime_max_ms}};
}

static void take_move(struct turn *turn, const struct place_move *move)
{
    turn->found = NULL;
    switch (move->end) {
    case PLACE_MOVED:
        turn->found = move->hold;
        return;
    case PLACE_MOVE_DUE:
        turn_end(turn, EXTEND_EXPIRED);
        return;
    case PLACE_MOVE_UNREADABLE:
        op_fail_unreadable(&turn->op->op, false);
        return;
    case PLACE_MOVE_NONE:
        break;
    }
    if (move->facts->record) {
        turn_end(turn, EXTEND_COMMITTED);
        turn->op->op.error.record = move->facts->record;
    } else if (settle_is_fenced(move->facts, move->attempt)) {
        turn_end(turn, EXTEND_RELEASED);
    } else {
        turn_end(turn, EXTEND_EXPIRED);
    }
}

static void set_aside(struct stores *stores, struct moving *all, size_t *count)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        if (!all[i].move->locked) {
            all[kept++] = all[i];
            continue;
        }
        aside_put(stores->services->aside, all[i].move->move.tenant_id, stores_mono_us(stores));
        all[i].turn->locked = true;
    }
    *count = kept;
}

static enum status run(struct stores *stores, struct moving *all, size_t count)
{
    struct ledger_move *moves = stores_scratch(stores, count, sizeof(*moves));
    enum status status;
    int64_t now_ms;

    for (size_t i = 0; i < count; i++)
        moves[i] = *all[i].move;
    status = stores->table->move_run(stores->db, &stores->scratch, moves, count, &now_ms);
    for (size_t i = 0; i < count; i++)
        *all[i].move = moves[i];
    return status;
}

/* As the grants: once more without those whose rows are locked; what is refused is looked for by halves. */
static void ask(struct stores *stores, struct moving *all, size_t count)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < 2 && count > 0 && status == STATUS_CONFLICT; i++) {
        status = run(stores, all, count);
        if (status == STATUS_CONFLICT)
            set_aside(stores, all, &count);
    }
    if (count > 1 && stores_refused(stores, status)) {
        ask(stores, all, count / 2);
        ask(stores, all + count / 2, count - count / 2);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK)
            take_move(all[i].turn, &all[i].move->move);
        else /* with the same deadline the call may be repeated */
            op_fail_status(&all[i].turn->op->op, status, stores_sqlstate(stores), EXTEND_UNCHANGED);
    }
}

void turns_move(struct stores *stores, struct turn *turns, size_t count)
{
    struct moving *all = stores_scratch(stores, count, sizeof(*all));
    size_t moving = 0;

    move_all_open(stores, turns, count);
    look_for(stores, turns, count);
    for (size_t i = 0; i < count; i++) {
        struct turn *turn = &turns[i];

        if (!turn_is_open(turn) || names_open(turn) || (!names_placed(turn) && !turn->found))
            continue;
        turn->placed = true;
        all[moving].turn = turn;
        all[moving].move = stores_scratch(stores, 1, sizeof(*all[moving].move));
        *all[moving++].move = move_for(stores, turn);
    }
    if (moving > 0)
        ask(stores, all, moving);
}
