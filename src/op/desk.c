#include "op/desk.h"

#include "base/check.h"
#include "base/thread.h"
#include "op/inbox.h"
#include "op/stores.h"
#include "quota/times.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    SCRATCH_BYTES = 4096,
    SCRATCH_BYTES_MAX = 256 << 20,
};

struct seat {
    struct stores *stores;
    struct desk_queue *queue; /* the inbox's */
    size_t number;
    pthread_t thread;
};

struct desks {
    struct desk_queue *queue;
    size_t count;
    struct seat seats[DESKS_MAX];
};

static void *run(void *user)
{
    struct seat *seat = user;
    struct op *op;

    while ((op = desk_queue_take(seat->queue, seat->number))) {
        arena_reset(&seat->stores->scratch);
        op->run(op, seat->stores);
    }
    return NULL;
}

static void take_seat(struct seat *seat, struct services *services, size_t number)
{
    const struct stores_options options = {
        .counter_timeout_ms = services->options.redis_timeout_ms,
        .database_connect_ms = CONNECT_MS,
        .database_statement_ms = STATEMENT_MS,
        .scratch_bytes = SCRATCH_BYTES,
        .scratch_bytes_max = SCRATCH_BYTES_MAX,
    };

    seat->stores = stores_open(services, &options);
    seat->queue = inbox_desks(services->inbox);
    seat->number = number;
    thread_start(&seat->thread, "desk", run, seat);
}

struct desks *desks_create(struct services *services, size_t count)
{
    struct desks *desks = calloc(1, sizeof(*desks));

    CHECK(desks && count >= 1 && count <= DESKS_MAX);
    desks->queue = inbox_desks(services->inbox);
    desks->count = count;
    for (size_t i = 0; i < count; i++)
        take_seat(&desks->seats[i], services, i);
    return desks;
}

void desks_destroy(struct desks *desks)
{
    if (!desks)
        return;
    desk_queue_close(desks->queue);
    for (size_t i = 0; i < desks->count; i++) {
        pthread_join(desks->seats[i].thread, NULL);
        stores_close(desks->seats[i].stores);
    }
    free(desks);
}
