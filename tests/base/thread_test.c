#include "base/thread.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

/* The starter names the thread, which may be running by then. */
static void *wait_for_name(void *user)
{
    char *name = user;

    while (strcmp(name, "committer") != 0)
        cr_assert_eq(pthread_getname_np(pthread_self(), name, 16), 0);
    return name;
}

static void *wait_for_policy(void *user)
{
    while (sched_getscheduler(0) != SCHED_BATCH)
        sched_yield();
    return user;
}

static void *return_policy(void *user)
{
    *(int *)user = sched_getscheduler(0);
    return user;
}

static void *nothing(void *user)
{
    return user;
}

Test(thread, has_the_name_that_it_was_started_with, .timeout = 10)
{
    char name[16] = "";
    pthread_t thread;
    void *result;

    thread_start(&thread, "committer", wait_for_name, name);
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_assert_eq(result, name);
    cr_assert_str_eq(name, "committer");
}

Test(thread, a_batch_thread_does_not_interrupt_others, .timeout = 10)
{
    pthread_t thread;

    thread_start_batch(&thread, "worker", wait_for_policy, NULL);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(thread, another_one_does)
{
    pthread_t thread;
    int policy = -1;

    thread_start(&thread, "hub", return_policy, &policy);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(policy, SCHED_OTHER);
}

Test(thread, a_name_of_16_bytes_is_a_bug, .signal = SIGABRT)
{
    pthread_t thread;

    thread_start(&thread, "0123456789abcdef", nothing, NULL);
}

Test(thread, a_name_of_15_bytes_is_none)
{
    pthread_t thread;

    thread_start(&thread, "0123456789abcde", nothing, NULL);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(thread, a_deadline_lies_as_far_ahead_as_asked_for)
{
    struct timespec before, at;
    int64_t ahead_us;

    clock_gettime(CLOCK_MONOTONIC, &before);
    at = thread_deadline(2999999);
    ahead_us = (at.tv_sec - before.tv_sec) * 1000000 + (at.tv_nsec - before.tv_nsec) / 1000;
    cr_assert(ahead_us >= 2999999 && ahead_us < 13000000, "%" PRId64, ahead_us);
    cr_assert(at.tv_nsec >= 0 && at.tv_nsec < 1000000000);
}
