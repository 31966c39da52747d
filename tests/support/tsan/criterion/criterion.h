/*
 * A stand-in for Criterion in the ThreadSanitizer build, where the real one aborts at its start
 * ("Could not initialize inheritable arena", Criterion issue 274). The same spelling for what our
 * tests use: Test, TestSuite, .init, .fini, .signal, .exit_code, .timeout, .disabled and the
 * cr_assert family; each test is a process of its own as there. The last line counts as Criterion's
 * does. cr_expect ends the test like cr_assert.
 *
 * Any number of files of a program may include it; main is in a library, for programs without one.
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

#endif
