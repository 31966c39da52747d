#include "op/granter.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "ledger/database.h"
#include "op/extend.h"
#include "op/grant.h"
#include "op/recover.h"
#include "op/refusals.h"
#include "op/reserve.h"
#include "op/settle.h"
#include "op/settles.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    MAILBOX_MAX = 16384,
    SCRATCH_BYTES = 256 * 1024,
    SCRATCH_BYTES_MAX = 256 << 20,
    CONNECT_TIMEOUT_MS = 2000,
    STATEMENT_TIMEOUT_MS = 5000,
};

/* A list of ops of one kind, in order of arrival, linked by their mailbox items. */
struct waiting {
    struct mailbox_item *first, **tail;
};

struct granter {
    struct grant_context context;
    struct mailbox *mailbox;
    pthread_t thread;
    struct waiting reserves, extends, recalls, settles;
};

static void waiting_init(struct waiting *waiting)
{
    waiting->first = NULL;
    waiting->tail = &waiting->first;
}

static void waiting_add(struct waiting *waiting, struct op *op)
{
    op->mailbox.next = NULL;
    *waiting->tail = &op->mailbox;
    waiting->tail = &op->mailbox.next;
}

static struct op *waiting_take(struct waiting *waiting)
{
    struct mailbox_item *item = waiting->first;

    if (!item)
        return NULL;
    waiting->first = item->next;
    if (!waiting->first)
        waiting->tail = &waiting->first;
    return container_of(item, struct op, mailbox);
}

void granter_run_reserve(struct op *op, void *granter)
{
    waiting_add(&((struct granter *)granter)->reserves, op);
}

void granter_run_extend(struct op *op, void *granter)
{
    waiting_add(&((struct granter *)granter)->extends, op);
}

void granter_run_settle(struct op *op, void *granter)
{
    waiting_add(&((struct granter *)granter)->settles, op);
}

void granter_run_recall(struct op *op, void *granter)
{
    waiting_add(&((struct granter *)granter)->recalls, op);
}

/* Those that workers have passed on, and those that no worker has taken yet. */
static size_t take_settles(struct granter *granter, struct settle_flight *flight,
                           struct op_commit **ops)
{
    size_t count = 0;
    struct op *op;

    while (count < GRANT_OPS_MAX && (op = waiting_take(&granter->settles)))
        ops[count++] = container_of(op, struct op_commit, op);
    return count + settles_take(granter->context.services->settles, flight, ops + count,
                                GRANT_OPS_MAX - count);
}

static void settle_all(struct granter *granter)
{
    struct op_commit *ops[GRANT_OPS_MAX];
    struct settle_flight flight = {0};
    size_t count;

    do {
        count = take_settles(granter, &flight, ops);
        settle_ops(&granter->context, ops, count);
        settles_landed(granter->context.services->settles, &flight);
    } while (count == GRANT_OPS_MAX);
}

/* Takes in what has arrived and settles what is to be settled; everything else waits its turn. */
static void take_in(struct granter *granter)
{
    struct mailbox_item *next;

    for (struct mailbox_item *item = mailbox_take_all(granter->mailbox); item; item = next) {
        struct op *op = container_of(item, struct op, mailbox);

        next = item->next;
        op->run(op, granter);
    }
    settle_all(granter);
}

/* What workers have under way may come back to the mailbox. */
static void collect(void *user)
{
    struct granter *granter = user;
    struct services *services = granter->context.services;

    settles_wait(services->settles, services->options.worker_timeout_ms);
    take_in(granter);
}

static void extend_all(struct granter *granter)
{
    struct op_extend *ops[GRANT_OPS_MAX];
    size_t count = 0;
    struct op *op;

    while (count < GRANT_OPS_MAX && (op = waiting_take(&granter->extends)))
        ops[count++] = container_of(op, struct op_extend, op);
    extend_ops(&granter->context, ops, count);
}

static void grant_all(struct granter *granter)
{
    struct op_reserve *ops[GRANT_OPS_MAX];
    size_t count = 0;
    struct op *op;

    while (count < GRANT_OPS_MAX && (op = waiting_take(&granter->reserves)))
        ops[count++] = container_of(op, struct op_reserve, op);
    if (count > 0)
        grant_reserves(&granter->context, ops, count);
}

static bool work(struct granter *granter)
{
    struct op *op;

    arena_reset(&granter->context.scratch);
    take_in(granter);
    while ((op = waiting_take(&granter->recalls)))
        recall_op(&granter->context, container_of(op, struct op_commit, op));
    extend_all(granter);
    grant_all(granter);
    return granter->reserves.first || granter->extends.first;
}

static void *run(void *user)
{
    struct granter *granter = user;
    struct pollfd poll_fd = {.fd = mailbox_fd(granter->mailbox), .events = POLLIN};

    while (true) {
        if (work(granter))
            continue;
        if (!mailbox_will_sleep(granter->mailbox)) {
            if (mailbox_is_closed(granter->mailbox) && mailbox_count(granter->mailbox) == 0)
                return NULL;
            continue;
        }
        poll(&poll_fd, 1, 1000);
        mailbox_awake(granter->mailbox);
    }
}

struct granter *granter_create(struct services *services)
{
    struct granter *granter = calloc(1, sizeof(*granter));
    struct database_options database = {
        .conninfo = services->options.postgres,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .clock = services->clock,
        .estimate = services->estimate,
    };
    struct counter_options counter = {
        .address = services->options.redis,
        .connect_timeout_ms = services->options.redis_timeout_ms,
        .timeout_ms = services->options.redis_timeout_ms,
    };

    CHECK(granter);
    granter->context.services = services;
    granter->context.db = database_create(&database);
    granter->context.counter = counter_create(&counter);
    granter->context.refusals = refusals_create();
    granter->context.collect = collect;
    granter->context.user = granter;
    arena_init(&granter->context.scratch, SCRATCH_BYTES, SCRATCH_BYTES_MAX);
    waiting_init(&granter->reserves);
    waiting_init(&granter->extends);
    waiting_init(&granter->recalls);
    waiting_init(&granter->settles);
    granter->mailbox = mailbox_create(MAILBOX_MAX);
    CHECK(granter->mailbox);
    thread_start(&granter->thread, "granter", run, granter);
    return granter;
}

void granter_stop(struct granter *granter)
{
    mailbox_close(granter->mailbox);
    pthread_join(granter->thread, NULL);
}

void granter_destroy(struct granter *granter)
{
    if (!granter)
        return;
    mailbox_destroy(granter->mailbox);
    refusals_destroy(granter->context.refusals);
    counter_destroy(granter->context.counter);
    database_destroy(granter->context.db);
    arena_done(&granter->context.scratch);
    free(granter);
}

bool granter_push(struct granter *granter, struct op *op)
{
    return mailbox_push(granter->mailbox, &op->mailbox);
}
