#include "op/desk.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "counter/counter.h"
#include "ledger/ledger.h"
#include "op/plans.h"
#include "op/services.h"
#include "quota/token_seal.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    DESKS_MAX = 8,
    MAILBOX_MAX = 1024,
    CONNECT_TIMEOUT_MS = 2000,
    STATEMENT_TIMEOUT_MS = 5000,
};

struct seat {
    struct desk desk;
    struct mailbox *mailbox;
    pthread_t thread;
};

struct desks {
    int count;
    _Atomic unsigned turn;
    struct seat seats[DESKS_MAX];
};

static void *run(void *user)
{
    struct seat *seat = user;
    struct pollfd poll_fd = {.fd = mailbox_fd(seat->mailbox), .events = POLLIN};

    while (true) {
        struct mailbox_item *item = mailbox_take_all(seat->mailbox), *next;

        for (; item; item = next) {
            struct op *op = container_of(item, struct op, mailbox);

            next = item->next;
            op->run(op, &seat->desk);
        }
        if (mailbox_will_sleep(seat->mailbox)) {
            poll(&poll_fd, 1, 1000);
            mailbox_awake(seat->mailbox);
        } else if (mailbox_is_closed(seat->mailbox) && mailbox_count(seat->mailbox) == 0) {
            return NULL;
        }
    }
}

static void take_seat(struct seat *seat, struct services *services)
{
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

    seat->desk = (struct desk){
        .services = services,
        .db = database_create(&database),
        .counter = counter_create(&counter),
        .seal = token_seal_create(services->token_keys),
    };
    seat->mailbox = mailbox_create(MAILBOX_MAX);
    CHECK(seat->mailbox);
    thread_start(&seat->thread, "desk", run, seat);
}

struct desks *desks_create(struct services *services, int count)
{
    struct desks *desks = calloc(1, sizeof(*desks));

    CHECK(desks && count >= 1 && count <= DESKS_MAX);
    desks->count = count;
    for (int i = 0; i < count; i++)
        take_seat(&desks->seats[i], services);
    return desks;
}

void desks_destroy(struct desks *desks)
{
    if (!desks)
        return;
    for (int i = 0; i < desks->count; i++)
        mailbox_close(desks->seats[i].mailbox);
    for (int i = 0; i < desks->count; i++) {
        struct seat *seat = &desks->seats[i];

        pthread_join(seat->thread, NULL);
        mailbox_destroy(seat->mailbox);
        database_destroy(seat->desk.db);
        counter_destroy(seat->desk.counter);
        token_seal_destroy(seat->desk.seal);
    }
    free(desks);
}

void op_desk_start(struct op *op, void (*run_on_desk)(struct op *op, void *desk))
{
    struct desks *desks = op->services->desks;
    unsigned turn = atomic_fetch_add(&desks->turn, 1);

    op->run = run_on_desk;
    for (int i = 0; i < desks->count; i++)
        if (mailbox_push(desks->seats[(turn + (unsigned)i) % (unsigned)desks->count].mailbox,
                         &op->mailbox))
            return;
    op_fail(op, FAILURE_OVERLOADED, false, "too many calls wait; try again in a moment");
    op_finish(op);
}

bool op_need_plan(struct op *op, struct database *db)
{
    if (op->plan)
        return true;
    op->plan = plans_get(op->services->plans, op->tenant);
    if (op->plan)
        return true;
    if (ledger_plan_load(db, op->tenant, &op->plan) != STATUS_OK) {
        op_fail(op, FAILURE_POSTGRES_UNAVAILABLE, false,
                "the database cannot be reached; nothing was done: try again in a moment");
        return false;
    }
    if (!op->plan) {
        op_fail(op, FAILURE_UNKNOWN_TENANT, false,
                "there is no tenant \"%.*s\": create it first (CreateTenant)",
                SLICE_ARGS(op->tenant));
        return false;
    }
    plans_put(op->services->plans, op->plan);
    return true;
}
