/*
 * Runs a command of the client in this process, as main would, and keeps what it prints.
 */
#ifndef HOLDFAST_TESTS_CLI_RUN_H
#define HOLDFAST_TESTS_CLI_RUN_H

#include "cli/cli.h"

#include <jansson.h>

#define RUN_TEXT_BYTES 65536

struct run {
    int code;
    char out[RUN_TEXT_BYTES];
    char err[RUN_TEXT_BYTES];
};

typedef int run_command_function(struct cli *cli, int argc, char **argv);

/* args: the options and arguments, NULL at the end. The result is static: one at a time. */
const struct run *run_command(run_command_function *command, const char *server,
                              const char *const *args);

/* The last line that was printed, as JSON; fails the test if it is none. For json_decref. */
json_t *run_last_line(const struct run *run);

#define RUN(command, server, ...)                                                                  \
    run_command(command, server, (const char *const[]){__VA_ARGS__, NULL})

#endif
