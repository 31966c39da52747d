#include "op/desk_queue.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* As in desk_queue.c. */
enum { QUEUE_MAX = 1024, QUEUE_TENANT_MAX = 256 };

static struct desk_queue *queue;

static void begin(void)
{
    queue = desk_queue_create();
}

static void end(void)
{
    desk_queue_destroy(queue);
}

TestSuite(desk_queue, .init = begin, .fini = end, .timeout = 30);

static void name(struct op *ops, size_t count, const char *tenant)
{
    for (size_t i = 0; i < count; i++)
        ops[i].tenant = slice_from_cstr(tenant);
}

static size_t push_all(struct op *ops, size_t count)
{
    size_t pushed = 0;

    while (pushed < count && desk_queue_push(queue, &ops[pushed]))
        pushed++;
    return pushed;
}

/* Takes what is left with one desk; returns how many that were. */
static size_t empty(void)
{
    size_t taken = 0;

    desk_queue_close(queue);
    while (desk_queue_take(queue, 0))
        taken++;
    return taken;
}

Test(desk_queue, ops_are_taken_in_order)
{
    struct op ops[3] = {0};

    name(ops, 3, "acme");
    cr_assert_eq(push_all(ops, 3), 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(desk_queue_take(queue, 0), &ops[i]);
    cr_assert_eq(empty(), 0);
}

/* The first tenant has a desk: its second op stays, and who comes behind it goes first. */
Test(desk_queue, a_tenant_has_one_desk_at_a_time)
{
    struct op busy[2] = {0}, other = {0};

    name(busy, 2, "busy");
    name(&other, 1, "other");
    cr_assert_eq(push_all(busy, 2), 2);
    cr_assert(desk_queue_push(queue, &other));
    cr_assert_eq(desk_queue_take(queue, 0), &busy[0]);
    cr_assert_eq(desk_queue_take(queue, 1), &other);
    /* The desk that had it is free, and so is the tenant. */
    cr_assert_eq(desk_queue_take(queue, 0), &busy[1]);
    cr_assert_eq(empty(), 0);
}

/* A queue whose last op was taken from the middle still takes more. */
Test(desk_queue, the_end_moves_when_the_last_is_taken_before_the_first)
{
    struct op busy[2] = {0}, others[2] = {0};

    name(busy, 2, "busy");
    name(&others[0], 1, "first");
    name(&others[1], 1, "second");
    cr_assert_eq(push_all(busy, 2), 2);
    cr_assert(desk_queue_push(queue, &others[0]));
    cr_assert_eq(desk_queue_take(queue, 0), &busy[0]);
    cr_assert_eq(desk_queue_take(queue, 1), &others[0]);
    cr_assert(desk_queue_push(queue, &others[1]));
    cr_assert_eq(desk_queue_take(queue, 2), &others[1]);
    cr_assert_eq(desk_queue_take(queue, 0), &busy[1]);
    cr_assert_eq(empty(), 0);
}

/* Its name is copied, because the op may be gone before the desk is free. */
Test(desk_queue, a_tenant_is_known_after_its_op_has_gone)
{
    struct op *gone = calloc(1, sizeof(*gone)), next = {0}, other = {0};

    name(gone, 1, "acme");
    name(&next, 1, "acme");
    name(&other, 1, "other");
    cr_assert(desk_queue_push(queue, gone));
    cr_assert_eq(desk_queue_take(queue, 0), gone);
    free(gone);
    cr_assert(desk_queue_push(queue, &next));
    cr_assert(desk_queue_push(queue, &other));
    cr_assert_eq(desk_queue_take(queue, 1), &other);
    cr_assert_eq(desk_queue_take(queue, 0), &next);
    cr_assert_eq(empty(), 0);
}

Test(desk_queue, ops_without_a_tenant_take_any_desk)
{
    struct op ops[DESKS_MAX] = {0};

    cr_assert_eq(push_all(ops, DESKS_MAX), DESKS_MAX);
    for (size_t i = 0; i < DESKS_MAX; i++)
        cr_assert_eq(desk_queue_take(queue, i), &ops[i]);
    cr_assert_eq(empty(), 0);
}

Test(desk_queue, a_tenant_gets_a_share_and_leaves_room_for_others)
{
    static struct op heavy[QUEUE_TENANT_MAX + 1], other;

    name(heavy, QUEUE_TENANT_MAX + 1, "heavy");
    name(&other, 1, "other");
    cr_assert_eq(push_all(heavy, QUEUE_TENANT_MAX + 1), QUEUE_TENANT_MAX);
    cr_assert(desk_queue_push(queue, &other));
    cr_assert_eq(desk_queue_take(queue, 0), &heavy[0]);
    cr_assert(desk_queue_push(queue, &heavy[QUEUE_TENANT_MAX]), "one has left");
    cr_assert_eq(empty(), QUEUE_TENANT_MAX + 1);
}

Test(desk_queue, all_together_are_bounded)
{
    static struct op ops[QUEUE_MAX], more;
    static const char *const tenants[] = {"a", "b", "c", "d"};

    for (size_t i = 0; i < QUEUE_MAX; i++)
        name(&ops[i], 1, tenants[i % 4]);
    name(&more, 1, "e");
    cr_assert_eq(push_all(ops, QUEUE_MAX), QUEUE_MAX);
    cr_assert_not(desk_queue_push(queue, &more));
    cr_assert_eq(desk_queue_take(queue, 0), &ops[0]);
    cr_assert(desk_queue_push(queue, &more));
    cr_assert_eq(empty(), QUEUE_MAX);
}

Test(desk_queue, what_was_queued_is_served_after_the_close_and_nothing_more)
{
    struct op ops[2] = {0}, late = {0};

    name(ops, 2, "acme");
    cr_assert_eq(push_all(ops, 2), 2);
    desk_queue_close(queue);
    cr_assert_not(desk_queue_push(queue, &late));
    cr_assert_eq(desk_queue_take(queue, 0), &ops[0]);
    cr_assert_eq(desk_queue_take(queue, 0), &ops[1]);
    cr_assert_null(desk_queue_take(queue, 0));
    cr_assert_null(desk_queue_take(queue, 1));
}

struct waiter {
    pthread_t thread;
    size_t desk;
    struct op *first;
    bool ended;
};

static void *wait_twice(void *user)
{
    struct waiter *waiter = user;

    waiter->first = desk_queue_take(queue, waiter->desk);
    waiter->ended = waiter->first && !desk_queue_take(queue, waiter->desk);
    return NULL;
}

/* Each waiting desk gets one, whoever wakes first; the close ends all that still wait. */
Test(desk_queue, waiting_desks_are_woken_by_ops_and_by_the_close)
{
    struct waiter waiters[DESKS_MAX] = {0};
    struct op ops[DESKS_MAX] = {0};
    static const char *const tenants[DESKS_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};

    for (size_t i = 0; i < DESKS_MAX; i++) {
        name(&ops[i], 1, tenants[i]);
        waiters[i].desk = i;
        cr_assert_eq(pthread_create(&waiters[i].thread, NULL, wait_twice, &waiters[i]), 0);
    }
    cr_assert_eq(push_all(ops, DESKS_MAX), DESKS_MAX);
    desk_queue_close(queue);
    for (size_t i = 0; i < DESKS_MAX; i++)
        cr_assert_eq(pthread_join(waiters[i].thread, NULL), 0);
}
