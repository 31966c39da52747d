#include "base/options.h"

#include "base/check.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static error_t accept(int key, char *arg, struct argp_state *state)
{
    (void)key;
    (void)arg;
    (void)state;
    return 0;
}

static const struct argp_option child_options[] = {
    {"server", 'S', "ADDRESS", 0, "where", 0}, {"json", 1000, NULL, 0, "as JSON", 0}, {0}};
static const struct argp child = {child_options, accept, NULL, NULL, NULL, NULL, NULL};
static const struct argp_option own_options[] = {
    {"tenant", 't', "NAME", 0, "whose", 0},
    {"kind", 1001, "KIND", OPTIONS_REPEATED, "of what kinds", 0},
    {NULL, 'x', NULL, 0, "a letter alone", 0},
    {0}};
static const struct argp_child children[] = {{&child, 0, NULL, 0}, {0}};
static const struct argp argp = {own_options, accept, NULL, NULL, children, NULL, NULL};

static void check(unsigned flags, const char *const *words)
{
    char *argv[16] = {strdup("program")};
    int argc = 1;

    for (; words[argc - 1]; argc++)
        argv[argc] = strdup(words[argc - 1]);
    options_check(&argp, argc, argv, flags);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
}

#define CHECKS(...) check(0, (const char *const[]){__VA_ARGS__, NULL})

Test(options, what_is_known_passes)
{
    CHECKS("--tenant", "demo", "--server=here", "--json", "word", "-x");
    CHECKS("-t", "demo", "-S", "here");
    CHECKS("--ten", "demo", "--help", "--usage", "--version");
}

Test(options, a_value_is_not_an_option)
{
    CHECKS("--tenant", "--odd-name", "-S", "--there");
    CHECKS("-t", "--odd-name");
    CHECKS("-xt", "--odd-name");
    CHECKS("-todd", "--", "--odd-name");
}

Test(options, in_order_the_rest_belongs_to_somebody_else)
{
    check(ARGP_IN_ORDER, (const char *const[]){"--json", "command", "--odd", NULL});
}

Test(options, in_order_an_unknown_letter_ends_the_program, .exit_code = 64)
{
    check(ARGP_IN_ORDER, (const char *const[]){"-q", "demo", "command", NULL});
}

Test(options, argps_own_letters_are_known_in_order)
{
    check(ARGP_IN_ORDER, (const char *const[]){"-?", "-V", "-S", "here", "command", NULL});
}

Test(options, an_unknown_one_ends_the_program, .exit_code = 64)
{
    CHECKS("--json=1", "--tenat", "demo");
}

Test(options, the_one_that_was_meant_is_named, .exit_code = 64)
{
    /* What exit prints is read by tests/cli/program_test. */
    CHECKS("-tdemo", "--serber=x");
}

Test(options, what_has_one_value_is_given_once)
{
    CHECKS("--kind", "a", "--kind=b", "--json", "--json", "-xx", "-t", "a", "--", "-t", "b");
    CHECKS("--tenant", "-t", "-S", "--tenant"); /* these are values */
}

Test(options, a_second_value_ends_the_program, .exit_code = 64)
{
    CHECKS("--tenant=a", "-t", "b");
}

Test(options, a_second_value_is_seen_by_the_beginning_of_the_name, .exit_code = 64)
{
    CHECKS("--ten", "a", "--tenant", "b");
}

Test(options, a_second_value_of_a_childs_option_ends_the_program, .exit_code = 64)
{
    CHECKS("-Sa", "-xSb");
}

Test(options, an_empty_value_ends_the_program, .exit_code = 64)
{
    CHECKS("--tenant", "");
}

Test(options, an_empty_value_behind_a_sign_ends_the_program, .exit_code = 64)
{
    CHECKS("--tenant=");
}

Test(options, an_empty_value_of_a_letter_ends_the_program, .exit_code = 64)
{
    CHECKS("-x", "-S", "");
}
