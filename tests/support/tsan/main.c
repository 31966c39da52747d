/* What runs the tests of a program that was compiled against the stand-in for Criterion. */
#include <criterion/criterion.h>

static void criterion_stand_in_run(const struct criterion_stand_in_options *suite,
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

static bool criterion_stand_in_passes(const struct criterion_stand_in_test *test)
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

int main(void)
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
