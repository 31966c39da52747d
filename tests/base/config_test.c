#include "base/config.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct settings {
    const char *listen;
    const char *password;
    int64_t workers;
    int64_t batch_rows_max;
    bool verbose;
    bool watch;
};

static const struct config_option options[] = {
    {.name = "listen",
     .type = CONFIG_TEXT,
     .fallback = "127.0.0.1:7070",
     .offset = offsetof(struct settings, listen),
     .letter = 'l',
     .arg = "HOST:PORT",
     .doc = "where to serve"},
    {.name = "password", .type = CONFIG_TEXT, .offset = offsetof(struct settings, password)},
    {.name = "workers",
     .type = CONFIG_INTEGER,
     .fallback = "1",
     .min = 1,
     .max = 64,
     .offset = offsetof(struct settings, workers),
     .doc = "threads that poll"},
    {.name = "batch-rows-max",
     .type = CONFIG_INTEGER,
     .min = -5,
     .max = 1000,
     .offset = offsetof(struct settings, batch_rows_max)},
    {.name = "verbose", .type = CONFIG_FLAG, .offset = offsetof(struct settings, verbose)},
    {.name = "watch",
     .type = CONFIG_FLAG,
     .fallback = "true",
     .offset = offsetof(struct settings, watch)},
};

static struct settings settings;
static const struct config config = {options, ARRAY_COUNT(options), &settings};
static char error[CONFIG_ERROR_MAX];

/* config_load with the words of a command line. */
static void load(const char *line)
{
    static char words[128]; /* options point into it */
    char *argv[16] = {NULL};
    char *state = NULL;
    int argc = 0;

    snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok_r(words, " ", &state); word; word = strtok_r(NULL, " ", &state))
        argv[argc++] = word;
    config_load(&config, argc, argv, "A test.");
}

Test(config, defaults_are_written)
{
    settings.batch_rows_max = 77;
    settings.verbose = true;
    config_defaults(&config);
    cr_assert_str_eq(settings.listen, "127.0.0.1:7070");
    cr_assert_null(settings.password);
    cr_assert_eq(settings.workers, 1);
    cr_assert_eq(settings.batch_rows_max, 0);
    cr_assert(!settings.verbose);
    cr_assert(settings.watch);
}

Test(config, default_out_of_its_own_range_is_a_bug, .signal = SIGABRT)
{
    static const struct config_option wrong[] = {
        {.name = "workers", .type = CONFIG_INTEGER, .fallback = "0", .min = 1, .max = 2},
    };
    int64_t field;
    const struct config bad = {wrong, 1, &field};

    config_defaults(&bad);
}

Test(config, environment_overrides_defaults_and_command_line_overrides_both)
{
    setenv("HOLDFAST_WORKERS", "4", 1);
    setenv("HOLDFAST_BATCH_ROWS_MAX", "-5", 1);
    load("holdfastd --workers 8 -l unix:/run/x --verbose --watch=0");
    cr_assert_eq(settings.workers, 8);
    cr_assert_eq(settings.batch_rows_max, -5);
    cr_assert_str_eq(settings.listen, "unix:/run/x");
    cr_assert(settings.verbose);
    cr_assert(!settings.watch);
}

Test(config, wrong_environment_names_the_variable_and_the_range)
{
    config_defaults(&config);
    setenv("HOLDFAST_WORKERS", "65", 1);
    cr_assert(!config_environment(&config, error));
    cr_assert_str_eq(error, "HOLDFAST_WORKERS is '65'; it must be a whole number from 1 to 64");
    cr_assert_eq(settings.workers, 1);
}

static bool reads(const char *name, const char *value)
{
    bool good;

    setenv(name, value, 1);
    good = config_environment(&config, error);
    unsetenv(name);
    return good;
}

Test(config, what_does_not_fit_is_refused_and_changes_nothing)
{
    static const char *const wrong[] = {"many", "", "+1", " 1", "1 ", "01", "0x1", "1e1", "1_0",
                                        "99999999999999999999"};

    config_defaults(&config);
    cr_assert(reads("HOLDFAST_WORKERS", "64"));
    cr_assert_eq(settings.workers, 64);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        cr_assert(!reads("HOLDFAST_WORKERS", wrong[i]), "\"%s\"", wrong[i]);
    cr_assert_eq(settings.workers, 64);
    cr_assert(!reads("HOLDFAST_VERBOSE", "maybe"));
    cr_assert_str_eq(error, "HOLDFAST_VERBOSE is 'maybe'; it must be 0, 1, false or true");
    cr_assert(reads("HOLDFAST_PASSWORD", "x"));
    cr_assert_str_eq(settings.password, "x");
    cr_assert(!reads("HOLDFAST_PASSWORD", ""));
    cr_assert_str_eq(error, "HOLDFAST_PASSWORD is empty; give it a value, or leave it out");
    cr_assert_str_eq(settings.password, "x");
}

Test(config, wrong_command_line_ends_the_process, .exit_code = EX_USAGE)
{
    load("holdfastd --workers=0");
}

Test(config, wrong_environment_ends_the_process, .exit_code = EX_USAGE)
{
    setenv("HOLDFAST_VERBOSE", "yes", 1);
    load("holdfastd");
}

Test(config, help_shows_range_default_and_variable, .exit_code = 0)
{
    load("holdfastd --help");
    cr_assert_fail("--help did not end the process");
}

Test(config, an_option_that_is_given_twice_ends_the_process, .exit_code = EX_USAGE)
{
    load("holdfastd --workers 1 --workers 2");
}

Test(config, by_letter_and_by_name_is_twice, .exit_code = EX_USAGE)
{
    load("holdfastd -l 127.0.0.1:1 --listen=127.0.0.1:2");
}
