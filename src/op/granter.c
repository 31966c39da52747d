#include "op/granter.h"

#include "base/check.h"
#include "base/thread.h"
#include "op/aside.h"
#include "op/extend.h"
#include "op/grant.h"
#include "op/inbox.h"
#include "op/recall.h"
#include "op/refusals.h"
#include "op/reserve.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/notify.h"
#include "op/notifies.h"
#include "quota/times.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    SCRATCH_BYTES = 256 * 1024,
    SCRATCH_BYTES_MAX = 256 << 20,
    IDLE_MS = 1000,
    PAUSE_MS = 10, /* between two looks at those who wait for their pause to be over */
};

struct granter {
    struct granting granting;
    struct services *services;
    enum inbox_granter which;
    struct mailbox *mailbox; /* the inbox's */
    pthread_t thread;
    struct inbox_list reserves, extends, recalls, notifies; /* taken out, in order of arrival */
};

static void done(struct granter *granter, size_t count)
{
    mailbox_done(granter->mailbox, count);
}

/* By errand. */
static void sort(struct granter *granter, struct op *op)
{
    switch (op->errand) {
    case OP_RESERVE:
        inbox_list_add(&granter->reserves, op);
        return;
    case OP_EXTEND:
        inbox_list_add(&granter->extends, op);
        return;
    case OP_NOTIFY:
        inbox_list_add(&granter->notifies, op);
        return;
    case OP_RECALL:
        inbox_list_add(&granter->recalls, op);
        return;
    case OP_LOOKUP:
        break;
    }
    UNREACHABLE();
}

/* Those that workers have passed on, and those that no worker has taken yet. */
static size_t take_notifies(struct granter *granter, struct notify_flight *flight,
                            struct op_commit **ops)
{
    size_t count = 0;
    struct op *op;

    while (count < GRANT_OPS_MAX && (op = inbox_list_take(&granter->notifies)))
        ops[count++] = container_of(op, struct op_commit, op);
    done(granter, count);
    return count +
           notifies_take(granter->services->notifies, flight, ops + count, GRANT_OPS_MAX - count);
}

static void notify_all(struct granter *granter)
{
    struct op_commit *ops[GRANT_OPS_MAX];
    struct notify_flight flight = {0};
    size_t count;

    do {
        count = take_notifies(granter, &flight, ops);
        notify_ops(granter->granting.stores, ops, count);
        notifies_landed(granter->services->notifies, &flight);
    } while (count == GRANT_OPS_MAX);
}

/* Takes in what has arrived and notifies what is to be notified; everything else waits its turn. */
static void take_in(struct granter *granter)
{
    struct mailbox_item *next;

    for (struct mailbox_item *item = mailbox_take_all(granter->mailbox); item; item = next) {
        struct op *op = container_of(item, struct op, mailbox);

        next = item->next;
        sort(granter, op);
    }
    notify_all(granter);
}

/* What workers have under way may come back to the mailbox. */
static void collect(void *user)
{
    struct granter *granter = user;
    struct services *services = granter->services;

    notifies_wait(services->notifies, services->options.worker_timeout_ms);
    take_in(granter);
}

/* --- a turn, whoever it is for ------------------------------------------------------------------ */

static void recall_some(struct granter *granter, struct op **list, size_t count)
{
    struct op_commit *ops[RECALL_OPS_MAX];

    for (size_t i = 0; i < count; i++)
        ops[i] = container_of(list[i], struct op_commit, op);
    recall_ops(granter->granting.stores, ops, count);
    done(granter, count);
}

/*
 * Those that would keep others waiting wait by themselves. False: there is no place where they could; the
 * op is to be answered.
 */
static bool set_aside(struct granter *granter, struct op *op, enum op_errand errand,
                      struct inbox_list *list)
{
    if (granter->which == GRANTER_PATIENT && !mailbox_is_closed(granter->mailbox)) {
        inbox_list_add(list, op);
        return true;
    }
    if (granter->which == GRANTER_QUICK && inbox_to_patient(op, errand)) {
        done(granter, 1);
        return true;
    }
    op_fail(
        op, FAILURE_CONTENTION, false,
        "a row of the tenant stays locked, or its shard is made ready; nothing was changed: try again");
    done(granter, 1);
    return false;
}

static void extend_some(struct granter *granter, struct op **list, size_t count)
{
    struct op_extend *ops[EXTEND_OPS_MAX];
    size_t left;

    for (size_t i = 0; i < count; i++)
        ops[i] = container_of(list[i], struct op_extend, op);
    left = extend_ops(&granter->granting, ops, count);
    done(granter, count - left);
    for (size_t i = 0; i < left; i++)
        if (!set_aside(granter, &ops[i]->op, OP_EXTEND, &granter->extends))
            op_finish(&ops[i]->op);
}

static void grant_some(struct granter *granter, struct op **list, size_t count)
{
    struct op_reserve *ops[GRANT_OPS_MAX];
    size_t left;

    for (size_t i = 0; i < count; i++)
        ops[i] = container_of(list[i], struct op_reserve, op);
    left = grant_reserves(&granter->granting, ops, count);
    done(granter, count - left);
    for (size_t i = 0; i < left; i++)
        if (!set_aside(granter, &ops[i]->op, OP_RESERVE, &granter->reserves))
            reserve_finish(ops[i]);
}

/* What is done for ops of an errand, and for how many of them at once. */
struct errand {
    void (*turn)(struct granter *granter, struct op **list, size_t count);
    size_t max;
};

enum { ERRAND_OPS_MAX = 256 }; /* the largest max */

static const struct errand recalls = {recall_some, RECALL_OPS_MAX};
static const struct errand extends = {extend_some, EXTEND_OPS_MAX};
static const struct errand reserves = {grant_some, GRANT_OPS_MAX};

_Static_assert((int)RECALL_OPS_MAX <= (int)ERRAND_OPS_MAX &&
                   (int)EXTEND_OPS_MAX <= (int)ERRAND_OPS_MAX &&
                   (int)GRANT_OPS_MAX <= (int)ERRAND_OPS_MAX,
               "the lists below have room for ERRAND_OPS_MAX");

/* The quick one: as many as go together. True: there are more. */
static bool turn_of_all(struct granter *granter, struct inbox_list *list,
                        const struct errand *errand)
{
    struct op *ops[ERRAND_OPS_MAX];
    size_t count = 0;

    while (count < errand->max && list->first)
        ops[count++] = inbox_list_take(list);
    if (count > 0)
        errand->turn(granter, ops, count);
    return list->first != NULL;
}

static int64_t tenant_of(const struct op *op)
{
    return op->plan ? op->plan->tenant_id : 0;
}

/*
 * The patient one: those of the first tenant whose pause is over. The others stay in order; who is past
 * his deadline goes along, to be told so.
 */
static void turn_of_one(struct granter *granter, struct inbox_list *list,
                        const struct errand *errand)
{
    int64_t mono_us = services_mono_us(granter->services), tenant_id = 0;
    struct op *ops[ERRAND_OPS_MAX];
    struct inbox_list rest;
    bool chosen = false;
    size_t count = 0;
    struct op *op;

    inbox_list_init(&rest);
    while ((op = inbox_list_take(list))) {
        bool may = aside_until_us(granter->services->aside, tenant_of(op), mono_us) <= mono_us ||
                   mailbox_is_closed(granter->mailbox);

        if (may && !chosen) {
            chosen = true;
            tenant_id = tenant_of(op);
        }
        if (count < errand->max &&
            ((may && tenant_of(op) == tenant_id) || op->give_up_us <= mono_us))
            ops[count++] = op;
        else
            inbox_list_add(&rest, op);
    }
    while ((op = inbox_list_take(&rest)))
        inbox_list_add(list, op);
    if (count > 0)
        errand->turn(granter, ops, count);
}

/* True: there is more to be done at once. */
static bool work(struct granter *granter)
{
    bool more = false;

    arena_reset(&granter->granting.stores->scratch);
    take_in(granter);
    if (granter->which == GRANTER_PATIENT) {
        turn_of_one(granter, &granter->recalls, &recalls);
        turn_of_one(granter, &granter->extends, &extends);
        turn_of_one(granter, &granter->reserves, &reserves);
        return false;
    }
    more |= turn_of_all(granter, &granter->recalls, &recalls);
    more |= turn_of_all(granter, &granter->extends, &extends);
    more |= turn_of_all(granter, &granter->reserves, &reserves);
    return more;
}

static bool is_idle(const struct granter *granter)
{
    return !granter->recalls.first && !granter->extends.first && !granter->reserves.first;
}

static void *run(void *user)
{
    struct granter *granter = user;
    struct pollfd poll_fd = {.fd = mailbox_fd(granter->mailbox), .events = POLLIN};

    while (true) {
        if (work(granter))
            continue;
        if (!mailbox_will_sleep(granter->mailbox)) {
            if (mailbox_is_closed(granter->mailbox) && mailbox_count(granter->mailbox) == 0 &&
                is_idle(granter))
                return NULL;
            continue;
        }
        poll(&poll_fd, 1, is_idle(granter) ? IDLE_MS : PAUSE_MS);
        mailbox_awake(granter->mailbox);
    }
}

struct granter *granter_create(struct services *services, enum inbox_granter which)
{
    struct granter *granter = calloc(1, sizeof(*granter));
    const struct stores_options options = {
        .counter_timeout_ms = services->options.worker_timeout_ms,
        .database_connect_ms = CONNECT_MS,
        .database_statement_ms = STATEMENT_MS,
        .database_lock_ms = LOCK_WAIT_MS,
        .hurried = which == GRANTER_QUICK,
        .compared = true,
        .scratch_bytes = SCRATCH_BYTES,
        .scratch_bytes_max = SCRATCH_BYTES_MAX,
    };

    CHECK(granter);
    granter->services = services;
    granter->which = which;
    granter->mailbox = inbox_granter(services->inbox, which);
    granter->granting = (struct granting){
        .stores = stores_open(services, &options),
        .refusals = refusals_create(),
        .quick = which == GRANTER_QUICK,
        .collect = collect,
        .user = granter,
    };
    inbox_list_init(&granter->reserves);
    inbox_list_init(&granter->extends);
    inbox_list_init(&granter->recalls);
    inbox_list_init(&granter->notifies);
    thread_start(&granter->thread, which == GRANTER_QUICK ? "granter" : "patient", run, granter);
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
    refusals_destroy(granter->granting.refusals);
    stores_close(granter->granting.stores);
    free(granter);
}
