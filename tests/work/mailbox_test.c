#include "work/mailbox.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sched.h>
#include <signal.h>

struct job {
    struct mailbox_item item;
    int producer;
    int number;
};

static bool is_readable(const struct mailbox *mailbox)
{
    struct pollfd fd = {.fd = mailbox_fd(mailbox), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static struct job *job_of(struct mailbox_item *item)
{
    return container_of(item, struct job, item);
}

Test(mailbox, gives_items_in_order_and_all_at_once)
{
    struct mailbox *mailbox = mailbox_create(8);
    struct job jobs[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    struct mailbox_item *item;
    int expected = 0;

    cr_assert_null(mailbox_take_all(mailbox));
    for (int i = 0; i < 3; i++)
        cr_assert(mailbox_push(mailbox, &jobs[i].item));
    cr_assert_eq(mailbox_count(mailbox), 3);
    for (item = mailbox_take_all(mailbox); item; item = item->next)
        cr_assert_eq(job_of(item)->number, expected++);
    cr_assert_eq(expected, 3);
    cr_assert_eq(mailbox_count(mailbox), 0);
    mailbox_destroy(mailbox);
}

Test(mailbox, what_was_taken_takes_room_until_it_is_done)
{
    struct mailbox *mailbox = mailbox_create(2);
    struct job jobs[3] = {{.number = 0}};

    cr_assert(mailbox_push(mailbox, &jobs[0].item));
    cr_assert(mailbox_push(mailbox, &jobs[1].item));
    cr_assert(!mailbox_push(mailbox, &jobs[2].item));
    cr_assert_not_null(mailbox_take_all(mailbox));
    cr_assert_eq(mailbox_count(mailbox), 0);
    cr_assert(!mailbox_push(mailbox, &jobs[2].item), "a list of the consumer's own is bounded too");
    mailbox_done(mailbox, 1);
    cr_assert(mailbox_push(mailbox, &jobs[2].item));
    cr_assert(!mailbox_push(mailbox, &jobs[0].item));
    cr_assert_eq(mailbox_take_all(mailbox), &jobs[2].item);
    mailbox_done(mailbox, 2);
    mailbox_destroy(mailbox);
}

Test(mailbox, eventfd_is_written_only_for_a_sleeper)
{
    struct mailbox *mailbox = mailbox_create(8);
    struct job jobs[4] = {{.number = 0}};

    cr_assert(mailbox_push(mailbox, &jobs[0].item));
    cr_assert(!is_readable(mailbox), "nobody sleeps");
    cr_assert(!mailbox_will_sleep(mailbox), "there is work");
    cr_assert_not_null(mailbox_take_all(mailbox));
    cr_assert(mailbox_will_sleep(mailbox));
    cr_assert(!is_readable(mailbox));
    cr_assert(mailbox_push(mailbox, &jobs[1].item));
    cr_assert(is_readable(mailbox));
    mailbox_awake(mailbox);
    cr_assert(!is_readable(mailbox));
    cr_assert(mailbox_push(mailbox, &jobs[2].item));
    cr_assert(!is_readable(mailbox), "awake again");
    cr_assert_not_null(mailbox_take_all(mailbox));
    mailbox_destroy(mailbox);
}

Test(mailbox, close_refuses_wakes_and_keeps_what_is_inside)
{
    struct mailbox *mailbox = mailbox_create(8);
    struct job jobs[2] = {{.number = 0}};

    cr_assert(mailbox_push(mailbox, &jobs[0].item));
    cr_assert(!mailbox_is_closed(mailbox));
    mailbox_close(mailbox);
    mailbox_close(mailbox);
    cr_assert(mailbox_is_closed(mailbox));
    cr_assert(is_readable(mailbox));
    cr_assert(!mailbox_push(mailbox, &jobs[1].item));
    cr_assert_eq(mailbox_take_all(mailbox), &jobs[0].item);
    cr_assert(!mailbox_will_sleep(mailbox), "a closed mailbox lets nobody sleep");
    mailbox_destroy(mailbox);
}

Test(mailbox, destroy_with_items_inside_is_a_bug, .signal = SIGABRT)
{
    struct mailbox *mailbox = mailbox_create(8);
    struct job job = {.number = 0};

    cr_assert(mailbox_push(mailbox, &job.item));
    mailbox_destroy(mailbox);
}

Test(mailbox, destroy_accepts_null, .exit_code = 7)
{
    mailbox_destroy(NULL);
    exit(7);
}

/* Several producers, a small mailbox and a consumer that sleeps whenever it can. */
enum { PRODUCERS = 4, JOBS_EACH = 20000 };

struct producer {
    pthread_t thread;
    struct mailbox *mailbox;
    struct job *jobs;
};

static void *produce(void *argument)
{
    struct producer *producer = argument;

    for (int i = 0; i < JOBS_EACH; i++)
        while (!mailbox_push(producer->mailbox, &producer->jobs[i].item))
            sched_yield();
    return NULL;
}

/* Takes until `total` jobs came; a lost wake-up shows as a poll that ends by its timeout. */
static void consume(struct mailbox *mailbox, int total, int next_number[PRODUCERS])
{
    struct pollfd fd = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    int taken = 0;

    while (taken < total) {
        struct mailbox_item *item = mailbox_take_all(mailbox);
        size_t some = 0;

        for (; item; item = item->next, taken++) {
            struct job *job = job_of(item);

            cr_assert_eq(job->number, next_number[job->producer]++);
            some++;
        }
        mailbox_done(mailbox, some);
        if (taken < total && mailbox_will_sleep(mailbox)) {
            cr_assert_eq(poll(&fd, 1, 20000), 1, "a wake-up was lost after %d jobs", taken);
            mailbox_awake(mailbox);
        }
    }
}

Test(mailbox, nothing_is_lost_doubled_or_reordered_between_threads, .timeout = 60)
{
    struct mailbox *mailbox = mailbox_create(16);
    struct producer producers[PRODUCERS];
    int next_number[PRODUCERS] = {0};

    for (int p = 0; p < PRODUCERS; p++) {
        producers[p].mailbox = mailbox;
        producers[p].jobs = calloc(JOBS_EACH, sizeof(struct job));
        cr_assert_not_null(producers[p].jobs);
        for (int i = 0; i < JOBS_EACH; i++)
            producers[p].jobs[i] = (struct job){.producer = p, .number = i};
        cr_assert_eq(pthread_create(&producers[p].thread, NULL, produce, &producers[p]), 0);
    }
    consume(mailbox, PRODUCERS * JOBS_EACH, next_number);
    for (int p = 0; p < PRODUCERS; p++) {
        cr_assert_eq(pthread_join(producers[p].thread, NULL), 0);
        cr_assert_eq(next_number[p], JOBS_EACH);
        free(producers[p].jobs);
    }
    cr_assert_null(mailbox_take_all(mailbox));
    mailbox_destroy(mailbox);
}
