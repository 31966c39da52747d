#include "op/inbox.h"

#include "op/aside.h"
#include "op/services.h"
#include "op/stores.h"

#include <stdlib.h>

enum {
    GRANTER_MAX = 16384,
    WORKER_MAX = 4096,
};

struct inbox {
    struct mailbox *granters[GRANTERS];
    struct desk_queue *desks;
};

struct inbox *inbox_create(void)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));

    CHECK(inbox);
    for (int i = 0; i < GRANTERS; i++) {
        inbox->granters[i] = mailbox_create(GRANTER_MAX);
        CHECK(inbox->granters[i]);
    }
    inbox->desks = desk_queue_create();
    return inbox;
}

void inbox_destroy(struct inbox *inbox)
{
    if (!inbox)
        return;
    for (int i = 0; i < GRANTERS; i++)
        mailbox_destroy(inbox->granters[i]);
    desk_queue_destroy(inbox->desks);
    free(inbox);
}

struct mailbox *inbox_granter(struct inbox *inbox, enum inbox_granter granter)
{
    return inbox->granters[granter];
}

struct desk_queue *inbox_desks(struct inbox *inbox)
{
    return inbox->desks;
}

static bool push(struct op *op, enum op_errand errand, enum inbox_granter granter)
{
    op->errand = errand;
    return mailbox_push(op->services->inbox->granters[granter], &op->mailbox);
}

bool inbox_to_granter(struct op *op, enum op_errand errand)
{
    struct services *services = op->services;
    bool patient =
        op->plan && aside_has(services->aside, op->plan->tenant_id, services_mono_us(services));

    return push(op, errand, patient ? GRANTER_PATIENT : GRANTER_QUICK);
}

bool inbox_to_patient(struct op *op, enum op_errand errand)
{
    return push(op, errand, GRANTER_PATIENT);
}

void inbox_to_desk(struct op *op, void (*run)(struct op *op, struct stores *stores))
{
    op->run = run;
    if (desk_queue_push(op->services->inbox->desks, op))
        return;
    op_fail(op, FAILURE_OVERLOADED, false, "too many calls wait; try again in a moment");
    op_finish(op);
}

bool inbox_to_committer(struct op_commit *op)
{
    struct services *services = op->op.services;

    return services->stores_table->committer_submit(services->committer, &op->item);
}

void inbox_list_init(struct inbox_list *list)
{
    list->first = NULL;
    list->tail = &list->first;
}

void inbox_list_add(struct inbox_list *list, struct op *op)
{
    op->mailbox.next = NULL;
    *list->tail = &op->mailbox;
    list->tail = &op->mailbox.next;
}

struct op *inbox_list_take(struct inbox_list *list)
{
    struct mailbox_item *item = list->first;

    if (!item)
        return NULL;
    list->first = item->next;
    if (!list->first)
        list->tail = &list->first;
    return container_of(item, struct op, mailbox);
}

void inbox_worker_init(struct inbox_worker *worker)
{
    inbox_list_init(&worker->reserves);
    inbox_list_init(&worker->lookups);
    worker->pending = 0;
}

void inbox_to_worker(struct inbox_worker *worker, struct op *op, enum op_errand errand)
{
    CHECK(errand == OP_RESERVE || errand == OP_LOOKUP);
    if (worker->pending >= WORKER_MAX) {
        op_fail(op, FAILURE_OVERLOADED, false,
                "too many calls wait for Redis; try again in a moment");
        op_finish(op);
        return;
    }
    op->errand = errand;
    inbox_list_add(errand == OP_RESERVE ? &worker->reserves : &worker->lookups, op);
    worker->pending++;
}
