/*
 * A stand-in for Criterion in the ThreadSanitizer build, where the real one aborts at its start
 * ("Could not initialize inheritable arena", Criterion issue 274). The same spelling for what our
 * tests use: Test, TestSuite, .init, .fini, .signal, .exit_code, .timeout, .disabled and the
 * cr_assert family; each test is a process of its own as there. The last line counts as Criterion's
 * does. cr_expect ends the test like cr_assert.
 *
 * It brings main; what several files of a program have of it is weak, so that one remains.
 */
#ifndef HOLDFAST_TESTS_CRITERION_STAND_IN_H
#define HOLDFAST_TESTS_CRITERION_STAND_IN_H

/* Warnings stop here as they do at the real header. */
#pragma GCC system_header

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct criterion_stand_in_options {
    void (*init)(void);
    void (*fini)(void);
    int signal;
    int exit_code;
    double timeout;
    bool disabled;
    const char *description;
};

struct criterion_stand_in_test {
    const char *suite;
    const char *name;
    void (*run)(void);
    struct criterion_stand_in_options options;
    struct criterion_stand_in_test *next;
};

struct criterion_stand_in_suite {
    const char *name;
    struct criterion_stand_in_options options;
    struct criterion_stand_in_suite *next;
};

__attribute__((weak)) struct criterion_stand_in_test *criterion_stand_in_tests;
__attribute__((weak)) struct criterion_stand_in_suite *criterion_stand_in_suites;

#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_##_run(void);                                                      \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                          \
    {                                                                                              \
        static struct criterion_stand_in_test test = {#suite_, #name_, suite_##_##name_##_run,     \
                                                      {.description = NULL, ##__VA_ARGS__}, NULL}; \
        test.next = criterion_stand_in_tests;                                                      \
        criterion_stand_in_tests = &test;                                                          \
    }                                                                                              \
    static void suite_##_##name_##_run(void)

#define TestSuite(suite_, ...)                                                                     \
    __attribute__((constructor)) static void suite_##_suite_add(void)                              \
    {                                                                                              \
        static struct criterion_stand_in_suite suite = {                                           \
            #suite_, {.description = NULL, ##__VA_ARGS__}, NULL};                                  \
        suite.next = criterion_stand_in_suites;                                                    \
        criterion_stand_in_suites = &suite;                                                        \
    }                                                                                              \
    struct criterion_stand_in_suite

/* What is printed after the condition is the caller's format, which may be missing. */
#define cr_assert(cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: failed: %s", __FILE__, __LINE__, #cond);                      \
            fprintf(stderr, " " __VA_ARGS__);                                                      \
            fputc('\n', stderr);                                                                   \
            _exit(111);                                                                            \
        }                                                                                          \
    } while (0)
#define cr_assert_fail(...) cr_assert(false, ##__VA_ARGS__)
#define cr_fail(...) cr_assert(false, ##__VA_ARGS__)
#define cr_assert_not(cond, ...) cr_assert(!(cond), ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b), ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b), ##__VA_ARGS__)
#define cr_assert_null(a, ...) cr_assert((a) == NULL, ##__VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL, ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0, ##__VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) cr_assert(strcmp(a, b) != 0, ##__VA_ARGS__)
#define cr_assert_str_empty(a, ...) cr_assert((a)[0] == '\0', ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) cr_assert(memcmp(a, b, n) == 0, ##__VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                                           \
    cr_assert((a) - (b) <= (e) && (b) - (a) <= (e), ##__VA_ARGS__)
#define cr_expect cr_assert
#define cr_expect_not cr_assert_not
#define cr_expect_eq cr_assert_eq
#define cr_expect_neq cr_assert_neq
#define cr_expect_str_eq cr_assert_str_eq
#define cr_log_info(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))
#define cr_log_warn cr_log_info
#define cr_log_error cr_log_info
#define cr_skip_test(...) (cr_log_info("" __VA_ARGS__), exit(0))
#define cr_skip cr_skip_test

static inline void criterion_stand_in_run(const struct criterion_stand_in_options *suite,
                                   const struct criterion_stand_in_test *test)
{
    const struct criterion_stand_in_options *own = &test->options;
    void (*init)(void) = own->init ? own->init : suite ? suite->init : NULL;
    void (*fini)(void) = own->fini ? own->fini : suite ? suite->fini : NULL;
    double timeout = own->timeout > 0 ? own->timeout : suite ? suite->timeout : 0;

    /* The sanitizer slows everything down, so a test gets four times what it asked for. */
    if (timeout > 0)
        alarm((unsigned int)(timeout * 4) + 1);
    if (init)
        init();
    test->run();
    if (fini)
        fini();
    exit(0);
}

static inline bool criterion_stand_in_passes(const struct criterion_stand_in_test *test)
{
    const struct criterion_stand_in_suite *suite = criterion_stand_in_suites;
    int status = 0;
    pid_t pid;

    while (suite && strcmp(suite->name, test->suite) != 0)
        suite = suite->next;
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        criterion_stand_in_run(suite ? &suite->options : NULL, test);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    if (test->options.signal)
        return WIFSIGNALED(status) && WTERMSIG(status) == test->options.signal;
    return WIFEXITED(status) && WEXITSTATUS(status) == test->options.exit_code;
}

__attribute__((weak)) int main(void)
{
    int passed = 0;
    int failed = 0;

    for (struct criterion_stand_in_test *test = criterion_stand_in_tests; test; test = test->next) {
        if (test->options.disabled)
            continue;
        if (criterion_stand_in_passes(test)) {
            passed++;
        } else {
            failed++;
            fprintf(stderr, "[FAIL] %s::%s\n", test->suite, test->name);
        }
    }
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: 0\n",
            passed + failed, passed, failed);
    return failed > 0;
}

#endif
