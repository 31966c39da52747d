#include "base/fault.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(fault, points_do_nothing_until_they_are_set)
{
    cr_assert(!fault_hit("commit.before"));
    cr_assert(fault_set("other=fail"));
    cr_assert(!fault_hit("commit.before"));
    cr_assert_eq(fault_passages("commit.before"), 0);
}

Test(fault, fail_is_true_at_every_passage)
{
    cr_assert(fault_set("a=fail,b=fail@3"));
    for (int i = 1; i <= 5; i++) {
        cr_assert(fault_hit("a"));
        cr_assert_eq(fault_hit("b"), i == 3);
    }
    cr_assert_eq(fault_passages("b"), 5);
    fault_clear();
    cr_assert(!fault_hit("a"));
}

Test(fault, setting_again_counts_anew)
{
    cr_assert(fault_set("a=fail@1"));
    cr_assert(fault_hit("a"));
    cr_assert(!fault_hit("a"));
    cr_assert(fault_set("a=fail@1"));
    cr_assert(fault_hit("a"));
    fault_release("a");
    cr_assert(!fault_hit("a"));
    fault_release("unheard of");
}

Test(fault, malformed_settings_change_nothing)
{
    const char *bad[] = {"",        "a",        "a=",        "=fail",  "a=explode", "a=fail@0",
                         "a=fail@", "a=fail@x", "a=fail,,b", "a=fail,"};

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        cr_assert(!fault_set(bad[i]), "%s", bad[i]);
    cr_assert(!fault_hit("a"));
}

Test(fault, table_has_room_for_its_points_and_refuses_more)
{
    char setting[32];

    for (int i = 0; i < FAULT_POINTS_MAX; i++) {
        snprintf(setting, sizeof(setting), "point%d=fail", i);
        cr_assert(fault_set(setting));
    }
    cr_assert(!fault_set("one.more=fail"));
    cr_assert(fault_set("point0=fail@2"));
}

Test(fault, environment_is_read_and_may_be_absent)
{
    unsetenv(FAULT_ENVIRONMENT);
    cr_assert(fault_load_environment());
    setenv(FAULT_ENVIRONMENT, "a=fail", 1);
    cr_assert(fault_load_environment());
    cr_assert(fault_hit("a"));
    setenv(FAULT_ENVIRONMENT, "nonsense", 1);
    cr_assert(!fault_load_environment());
}

static void *pass_once(void *argument)
{
    *(bool *)argument = !fault_hit("gate");
    return NULL;
}

static void await_waiting(int threads)
{
    while (fault_waiting("gate") != threads)
        sched_yield();
}

Test(fault, waiting_threads_go_on_when_released, .timeout = 20)
{
    pthread_t threads[3];
    bool passed[3] = {false};

    cr_assert(fault_set("gate=wait"));
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, pass_once, &passed[i]), 0);
    await_waiting(3);
    fault_release("gate");
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert(passed[i]);
    }
    cr_assert_eq(fault_waiting("gate"), 0);
}

Test(fault, clear_and_a_new_setting_release_as_well, .timeout = 20)
{
    pthread_t thread;
    bool passed = false;

    for (int round = 0; round < 2; round++) {
        cr_assert(fault_set("gate=wait"));
        cr_assert_eq(pthread_create(&thread, NULL, pass_once, &passed), 0);
        await_waiting(1);
        if (round)
            fault_clear();
        else
            cr_assert(fault_set("gate=fail"));
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert(passed);
        passed = false;
    }
}

/* Runs the point in a child and returns its pid. */
static pid_t pass_in_child(const char *setting)
{
    pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid == 0) {
        _exit(!fault_set(setting) || fault_hit("a") || fault_hit("a") ? 1 : 0);
    }
    return pid;
}

Test(fault, crash_kills_the_process_at_its_passage, .timeout = 20)
{
    int status = 0;

    cr_assert_gt(waitpid(pass_in_child("a=crash@2"), &status, 0), 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_assert_gt(waitpid(pass_in_child("a=crash@3"), &status, 0), 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(fault, stopped_process_goes_on_by_sigcont, .timeout = 20)
{
    int status = 0;
    pid_t pid = pass_in_child("a=stop@1");

    cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
    cr_assert(WIFSTOPPED(status));
    cr_assert_eq(kill(pid, SIGCONT), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(fault, macro_is_off_unless_compiled_in)
{
    cr_assert(fault_set("a=fail"));
    cr_assert_eq(FAULT("a"), FAULTS_COMPILED_IN);
}
