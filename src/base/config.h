/*
 * Options as a table: name, type, range, default -> field.
 *
 * Each module keeps its own options struct; main.c lists them in one table over a struct that holds
 * them all. An option named "redis-timeout" is read from HOLDFAST_REDIS_TIMEOUT, then from
 * --redis-timeout, the later winning; --help shows both with range and default.
 *
 *     struct settings { const char *listen; int64_t workers; bool verbose; };
 *
 *     static const struct config_option options[] = {
 *         {.name = "listen", .type = CONFIG_TEXT, .fallback = "127.0.0.1:7070",
 *          .offset = offsetof(struct settings, listen), .arg = "HOST:PORT",
 *          .doc = "where to serve"},
 *         {.name = "workers", .type = CONFIG_INTEGER, .fallback = "1", .min = 1, .max = 64, ...},
 *         {.name = "verbose", .type = CONFIG_FLAG, ...},
 *     };
 *
 * For the start of a program: one thread.
 */
#ifndef HOLDFAST_BASE_CONFIG_H
#define HOLDFAST_BASE_CONFIG_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
    CONFIG_TEXT,    /* const char *, never empty; points into the table, the environment or argv */
    CONFIG_INTEGER, /* int64_t from min to max */
    CONFIG_FLAG,    /* bool; "--name" alone means true, in the environment 0, 1, false or true */
};

enum { CONFIG_ERROR_MAX = 256, CONFIG_OPTIONS_MAX = 64 };

struct config_option {
    const char *name; /* lower case, with '-' between words */
    enum config_type type;
    size_t offset;        /* of the field in the target */
    const char *fallback; /* the default as text; NULL: NULL, 0 or false */
    int64_t min;          /* integers only */
    int64_t max;
    int letter;      /* a short option, or 0 */
    const char *arg; /* what the value is called in --help */
    const char *doc;
};

struct config {
    const struct config_option *options;
    size_t count; /* at most CONFIG_OPTIONS_MAX */
    void *target; /* the struct with the fields */
};

/* Writes every default. A default that does not fit its own option is a bug. */
void config_defaults(const struct config *config);

/* Reads the environment. False: `error` says which variable is wrong and what it may be. */
MUST_CHECK bool config_environment(const struct config *config, char error[CONFIG_ERROR_MAX]);

/*
 * All of it: defaults, environment, command line. Prints --help (-h), --usage, --version (that is
 * argp_program_version, if set) and complaints itself and ends the process for them (0, or EX_USAGE), as
 * argp does. `doc` is shown by --help. An option may not have the letter h.
 */
void config_load(const struct config *config, int argc, char **argv, const char *doc);

#endif
