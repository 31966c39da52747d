/*
 * holdfast: the command-line client. Reads the options before the command, then hands over.
 */
#include "base/check.h"
#include "base/nearest.h"
#include "base/options.h"
#include "base/standard.h"
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(struct cli *cli, int argc, char **argv);
};

static const struct command commands[] = {
    {"reserve", command_reserve}, {"commit", command_commit},       {"release", command_release},
    {"charge", command_charge},   {"extend", command_extend},       {"check", command_check},
    {"usage", command_usage},     {"holds", command_holds},         {"show", command_show},
    {"status", command_status},   {"verify", command_verify},       {"watch", command_watch},
    {"apply", command_apply},     {"reconcile", command_reconcile}, {"replay", command_replay},
    {"bench", command_bench},     {"adjust", command_adjust},
};

#define TIMEOUT_DEFAULT_US INT64_C(10000000) /* as --help says (cli.c) */

static const char doc[] =
    "Reserve before spending, commit what was used: the client of the quota service Holdfast.\v"
    "Commands (each has --help):\n"
    "  reserve    hold amounts for a job: may it start?\n"
    "  commit     record what the job used, free the rest\n"
    "  release    give the hold back\n"
    "  charge     record work that is done and was not reserved\n"
    "  adjust     correct what was recorded of a job\n"
    "  extend     move the expiry of a hold\n"
    "  check      what would reserve answer now?\n"
    "  usage      limits, use and holds of a tenant\n"
    "  holds      the live holds of a tenant\n"
    "  show       where one job stands\n"
    "  verify     do the books prove themselves?\n"
    "  reconcile  do Redis, leases, quotas and record agree?\n"
    "  watch      events of a tenant, as they come\n"
    "  status     the server and its stores\n"
    "  apply      make tenants and limits like those of a YAML file\n"
    "  replay     replay a trace of requests and balance the books\n"
    "  bench      calls a second, beside calls that do nothing\n"
    "  help       what COMMAND does: holdfast help COMMAND\n"
    "\n"
    "Exit codes:\n"
    "  0  done; for reserve and check: the work may start\n"
    "  1  the work must not start: REJECT, or it was committed before; verify: no\n"
    "     receipt of this service\n"
    "  2  the command line or an input file is wrong\n"
    "  3  the server answered with an error, or not at all (the text says whether\n"
    "     the call may have had an effect); status: a store is away\n"
    "  4  replay, verify, reconcile: the books do not balance\n"
    "  5  the output could not be written\n"
    "\n"
    "Durations are written with a unit: 500ms, 30s, 15m or 1h30m. Amounts are whole units in digits "
    "alone: tokens=1500.";

struct chosen {
    struct cli *cli;
    const struct command *command;
    int at;    /* in argv */
    bool help; /* "help" came before it */
};

static void refuse_command(const struct argp_state *state, const char *name)
{
    const char *names[ARRAY_COUNT(commands)], *meant;

    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        names[i] = commands[i].name;
    meant = nearest(name, names, ARRAY_COUNT(names));
    argp_error(state, "there is no command \"%s\"%s%s%s", name, meant ? "; did you mean " : "",
               meant ? meant : "", meant ? "?" : "");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct chosen *chosen = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = chosen->cli;
        return 0;
    case ARGP_KEY_ARG:
        if (strcmp(arg, "help") == 0) { /* "help help" is help */
            chosen->help = true;
            return 0;
        }
        chosen->command = find_command(arg);
        if (!chosen->command)
            refuse_command(state, arg);
        chosen->at = state->next - 1;
        state->next = state->argc; /* the rest is the command's */
        return 0;
    case ARGP_KEY_END:
        if (chosen->help && !chosen->command)
            options_help(state);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_state_help(state, stderr, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK);
        exit(CLI_USAGE);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* HOLDFAST_LISTEN may list several addresses, as for the server; a client takes the first. */
static char *default_server(void)
{
    const char *listen = getenv("HOLDFAST_LISTEN");

    if (!listen || !*listen)
        return strdup("127.0.0.1:7070");
    return strndup(listen, strcspn(listen, ", "));
}

int main(int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {NULL, parse_option, "COMMAND [OPTION...]", doc, children, NULL, NULL};
    struct cli cli = {.timeout_us = TIMEOUT_DEFAULT_US};
    char *server = default_server();
    struct chosen chosen = {.cli = &cli};
    char name[64], program[] = "holdfast", help[] = "--help", *help_argv[] = {name, help, NULL};
    int result;

    standard_open();
    signal(SIGPIPE, SIG_IGN); /* nobody reads: no reason to stop half way through a change */
    standard_check_output(CLI_OUTPUT);
    argp_program_version = "holdfast " HOLDFAST_VERSION;
    cli.server = server;
    cli.server_from = getenv("HOLDFAST_LISTEN") ? "$HOLDFAST_LISTEN" : NULL;
    if (argc > 0)
        argv[0] = program;
    cli_parse(&argp, argc, argv, ARGP_IN_ORDER, &chosen);
    snprintf(name, sizeof(name), "holdfast %s", chosen.command->name);
    argv[chosen.at] = name;
    if (chosen.help)
        result = chosen.command->run(&cli, 2, help_argv); /* does not return */
    else
        result = chosen.command->run(&cli, argc - chosen.at, argv + chosen.at);
    cli_close(&cli);
    free(server);
    return result;
}
