#include "op/grant.h"

#include "base/check.h"
#include "op/grant_pass.h"
#include "stub/call.h"

enum { PASSES_MAX = 12 }; /* more than any lawful sequence of answers takes */

/* Who is answered goes; who is to wait alone goes to the end of the list, out of the pass. */
static void finish_answered(struct pass *pass)
{
    size_t kept = 0;

    stub_cork();
    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (reserve_is(op, RESERVE_ANSWERED)) {
            op->op.error.effect_unknown |= op->work->maybe_held;
            reserve_finish(op);
        } else if (reserve_is(op, RESERVE_STUCK)) {
            pass->stuck[pass->stuck_count++] = op;
        } else {
            pass->ops[kept++] = op;
        }
    }
    stub_uncork();
    pass->count = kept;
}

/* The root has shown what there is. */
static void reject_never(struct pass *pass)
{
    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (!reserve_is(op, RESERVE_NEVER))
            continue;
        reserve_rejected(op, -1, -1);
        reserve_step(op, RESERVE_ANSWERED);
    }
}

static void run_pass(struct pass *pass)
{
    struct stores *stores = pass->stores;
    bool ready = stores_know_the_time(stores);

    arena_reset(&stores->scratch);
    pass->granting->collect(pass->granting->user);
    pass->now_ms = stores_now_ms(stores);
    pass->totals_count = pass->removals_count = 0;
    pass->waited = pass->postgres_silent = false;
    pass->none_due_tenant_id = 0;
    pass->removals = stores_scratch(stores, pass->count, sizeof(*pass->removals));
    if (ready)
        pass_plan(pass);
    else
        for (size_t i = 0; i < pass->count; i++)
            pass_fail_postgres(pass, pass->ops[i], STATUS_UNAVAILABLE, false);
    pass_look_up(pass);
    pass_read_facts(pass);
    pass_place(pass);
    pass_reap(pass);
    pass_ask_root(pass);
    reject_never(pass);
    pass_run_scripts(pass);
    finish_answered(pass);
}

size_t grant_reserves(struct granting *granting, struct op_reserve **ops, size_t count)
{
    struct op_reserve *stuck[GRANT_OPS_MAX];
    struct pass pass = {.granting = granting,
                        .stores = granting->stores,
                        .ops = ops,
                        .count = count,
                        .stuck = stuck};

    CHECK(count <= GRANT_OPS_MAX);
    for (size_t i = 0; i < count; i++)
        if (reserve_is(ops[i], RESERVE_STUCK)) /* it was left for later, which is now */
            reserve_step(ops[i], RESERVE_BEGUN);
    for (int i = 0; i < PASSES_MAX && pass.count > 0; i++)
        run_pass(&pass);
    for (size_t i = 0; i < pass.count; i++) {
        op_fail(&pass.ops[i]->op, FAILURE_CONTENTION, false,
                "the answer kept changing while it was made; nothing was held: try again");
        reserve_finish(pass.ops[i]);
    }
    for (size_t i = 0; i < pass.stuck_count; i++)
        ops[i] = stuck[i];
    arena_reset(&granting->stores->scratch);
    return pass.stuck_count;
}
