#include "base/standard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

Test(standard, what_is_closed_is_taken_by_something_harmless)
{
    char byte;

    close(0);
    close(1);
    standard_open();
    cr_assert_eq(read(0, &byte, 1), 0);
    cr_assert_eq(write(1, "x", 1), -1);
    cr_assert_eq(errno, EBADF);
    cr_assert_gt(dup(2), 2, "no file gets the number of a standard stream");
}

Test(standard, what_is_open_stays_as_it_is)
{
    int pipe_ends[2];
    char byte;

    cr_assert_eq(pipe(pipe_ends), 0);
    dup2(pipe_ends[1], 1);
    standard_open();
    cr_assert_eq(write(1, "x", 1), 1);
    cr_assert_eq(read(pipe_ends[0], &byte, 1), 1);
    cr_assert_eq(byte, 'x');
}

static void print_to(const char *path)
{
    cr_assert_not_null(freopen(path, "w", stdout));
    standard_check_output(7);
    puts("something");
    exit(3);
}

Test(standard, a_full_disk_has_an_exit_code_of_its_own, .exit_code = 7)
{
    print_to("/dev/full");
}

Test(standard, what_could_be_written_ends_as_it_would, .exit_code = 3)
{
    print_to("/dev/null");
}

Test(standard, an_error_of_before_is_not_forgotten, .exit_code = 7)
{
    cr_assert_not_null(freopen("/dev/full", "w", stdout));
    standard_check_output(7);
    puts("something");
    fflush(stdout);
    exit(0);
}
