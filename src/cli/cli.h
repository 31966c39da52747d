/*
 * What every command of the client shares: the global options, the channel, exit codes, and how an
 * error is told.
 *
 * One thread. A command is a function of its own file; main.c has the table of them.
 */
#ifndef HOLDFAST_CLI_CLI_H
#define HOLDFAST_CLI_CLI_H

#include "stub/client.h"

#include <argp.h>
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes; `holdfast --help` promises them. */
enum cli_exit {
    CLI_OK = 0,
    CLI_REFUSED =
        1,          /* do not start the work: REJECT, or the job was committed before; no receipt */
    CLI_USAGE = 2,  /* the command line or an input file is wrong */
    CLI_SERVER = 3, /* the server answered with an error, or not at all */
    CLI_UNBALANCED = 4, /* replay, verify: the books do not balance */
    CLI_OUTPUT = 5,     /* what was to be printed could not be written */
};

/* What a call could have done: the effect of a read, or of a trial, is never unknown. */
enum cli_call { CLI_CALL_READS, CLI_CALL_CHANGES };

struct cli {
    const char *server;      /* its address, as in base/address.h */
    const char *server_from; /* what said so, "--server" or "$HOLDFAST_LISTEN"; NULL: nothing did */
    unsigned given;          /* private: options that were given, before or after the command */
    int64_t timeout_us;      /* of each call */
    bool json;               /* machine-readable output on stdout */
    const char *tls_ca;      /* by TLS if any of these is given, here or in the environment */
    const char *tls_cert;
    const char *tls_key;
    const char *tls_server_name;
    struct stub_channel *channel; /* made by cli_channel */
    enum cli_call last_call;      /* of admin.h and books.h */
};

/*
 * argp_parse, and what it lacks (base/options.h). A wrong command line ends the program with CLI_USAGE,
 * said on stderr.
 */
void cli_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input);

/* The options -h, --server, --timeout, --json and --tls-*; its input is a struct cli. For use as a child. */
extern const struct argp cli_argp;

/*
 * A channel to this server with this many connections, by TLS if so asked. What is no address, and files
 * that cannot be used, end the program with CLI_USAGE, said on stderr.
 */
struct stub_channel *cli_connect(struct cli *cli, const char *server, int connections);

/* The channel to cli->server, made at the first call. */
struct stub_channel *cli_channel(struct cli *cli);

/* Closes it, if it is open; the next call makes another. */
void cli_close(struct cli *cli);

/* The options of one call: the timeout, and waiting for the server to come up. */
struct stub_call_options cli_call_options(const struct cli *cli);

/* Prints an error with all its details and what to do about it; as JSON on stdout with --json, else
   on stderr. Returns CLI_SERVER. */
int cli_fail(const struct cli *cli, enum cli_call call, const struct stub_status *status);

/* Prints the message as one line of JSON on stdout. */
void cli_print_json(const ProtobufCMessage *message);

/* Prints the object as one line of JSON on stdout, and releases it. */
void cli_print_object(json_t *object);

/* "run-4f1c09ab5d7e2f38": the prefix and 16 random hex digits. */
#define CLI_ID_BYTES 64
const char *cli_random_id(const char *prefix, char text[CLI_ID_BYTES]);

/* The commands. argv[0] is the full name, "holdfast reserve"; each returns an enum cli_exit. */
int command_reserve(struct cli *cli, int argc, char **argv);
int command_charge(struct cli *cli, int argc, char **argv);
int command_commit(struct cli *cli, int argc, char **argv);
int command_release(struct cli *cli, int argc, char **argv);
int command_adjust(struct cli *cli, int argc, char **argv);
int command_extend(struct cli *cli, int argc, char **argv);
int command_check(struct cli *cli, int argc, char **argv);
int command_usage(struct cli *cli, int argc, char **argv);
int command_holds(struct cli *cli, int argc, char **argv);
int command_show(struct cli *cli, int argc, char **argv);
int command_status(struct cli *cli, int argc, char **argv);
int command_verify(struct cli *cli, int argc, char **argv);
int command_reconcile(struct cli *cli, int argc, char **argv);
int command_watch(struct cli *cli, int argc, char **argv);
int command_apply(struct cli *cli, int argc, char **argv);
int command_replay(struct cli *cli, int argc, char **argv);
int command_bench(struct cli *cli, int argc, char **argv);

#endif
