#include "cli/cli.h"

#include "base/address.h"
#include "base/options.h"
#include "cli/duration.h"
#include "cli/failure.h"
#include "cli/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    KEY_JSON = 0x100,
    KEY_TLS_CA,
    KEY_TLS_CERT,
    KEY_TLS_KEY,
    KEY_TLS_SERVER_NAME,
};

enum {
    GIVEN_SERVER = 1,
    GIVEN_TIMEOUT = 2,
    GIVEN_TLS_CA = 4,
    GIVEN_TLS_CERT = 8,
    GIVEN_TLS_KEY = 16,
    GIVEN_TLS_SERVER_NAME = 32,
};

static const struct argp_option options[] = {
    OPTIONS_HELP,
    {"server", 'S', "ADDRESS", 0, "server to call (default: $HOLDFAST_LISTEN, 127.0.0.1:7070)", -2},
    {"timeout", 'T', "DURATION", 0, "longest wait for one call (default: 10s)", -2},
    {"json", KEY_JSON, NULL, 0, "print JSON", -2},
    {"tls-ca", KEY_TLS_CA, "FILE", 0,
     "call by TLS, servers with a certificate of these authorities (default: $HOLDFAST_TLS_CA)",
     -2},
    {"tls-cert", KEY_TLS_CERT, "FILE", 0, "own certificate (default: $HOLDFAST_TLS_CLIENT_CERT)",
     -2},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "its key (default: $HOLDFAST_TLS_CLIENT_KEY)", -2},
    {"tls-server-name", KEY_TLS_SERVER_NAME, "NAME", 0,
     "name in the server's certificate if it is not that of --server (default: "
     "$HOLDFAST_TLS_SERVER_NAME)",
     -2},
    {0},
};

/* These options stand before the command or after it, so only here it is seen that one is on both sides. */
static void check_once(struct cli *cli, unsigned bit, const char *name, struct argp_state *state)
{
    if (cli->given & bit)
        argp_error(state, "--%s is given twice; give it once", name);
    cli->given |= bit;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct cli *cli = state->input;

    switch (key) {
    case OPTIONS_KEY_HELP:
        options_help(state);
        return 0;
    case 'S':
        check_once(cli, GIVEN_SERVER, "server", state);
        cli->server = arg;
        cli->server_from = "--server";
        return 0;
    case 'T':
        check_once(cli, GIVEN_TIMEOUT, "timeout", state);
        duration_option(state, "timeout", arg, &cli->timeout_us);
        return 0;
    case KEY_JSON:
        cli->json = true;
        return 0;
    case KEY_TLS_CA:
        check_once(cli, GIVEN_TLS_CA, "tls-ca", state);
        cli->tls_ca = arg;
        return 0;
    case KEY_TLS_CERT:
        check_once(cli, GIVEN_TLS_CERT, "tls-cert", state);
        cli->tls_cert = arg;
        return 0;
    case KEY_TLS_KEY:
        check_once(cli, GIVEN_TLS_KEY, "tls-key", state);
        cli->tls_key = arg;
        return 0;
    case KEY_TLS_SERVER_NAME:
        check_once(cli, GIVEN_TLS_SERVER_NAME, "tls-server-name", state);
        cli->tls_server_name = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_argp = {options, parse_option, NULL, NULL, NULL, NULL, NULL};

/* What the command line said, else the environment; NULL: neither, or nothing. */
static const char *chosen(const char *given, const char *variable)
{
    if (!given)
        given = getenv(variable);
    return given && *given ? given : NULL;
}

/* As the stub layer wants it; anything that is no address ends the program. */
static const char *target_of(const struct cli *cli, const char *server, struct address *ret,
                             char text[ADDRESS_TEXT_BYTES])
{
    static const struct address_use use = {.usual_port = 7070,
                                           .tls = "; TLS is asked for by --tls-ca"};
    char error[ADDRESS_ERROR_BYTES];

    if (!address_parse(slice_from_cstr(server), &use, ret, error)) {
        fprintf(stderr, "holdfast: the server's address \"%s\"%s%s%s: %s\n",
                strchr(server, '@') ? "..." : server, cli->server_from ? " (" : "",
                cli->server_from ? cli->server_from : "", cli->server_from ? ")" : "", error);
        exit(CLI_USAGE);
    }
    return address_format(ret, text);
}

struct stub_channel *cli_connect(struct cli *cli, const char *server, int connections)
{
    char error[1024], text[ADDRESS_TEXT_BYTES];
    struct address address;
    const char *target = target_of(cli, server, &address, text);
    const struct stub_tls_files files = {
        .certificate = chosen(cli->tls_cert, "HOLDFAST_TLS_CLIENT_CERT"),
        .key = chosen(cli->tls_key, "HOLDFAST_TLS_CLIENT_KEY"),
        .authority = chosen(cli->tls_ca, "HOLDFAST_TLS_CA"),
    };
    struct stub_channel_options channel_options = {
        .connections = connections,
        .server_name = chosen(cli->tls_server_name, "HOLDFAST_TLS_SERVER_NAME"),
    };
    struct stub_credentials *credentials = NULL;
    struct stub_channel *channel;

    /* Unix sockets are plaintext at the server, too. */
    if ((files.certificate || files.key || files.authority) && address.kind != ADDRESS_UNIX) {
        credentials = stub_credentials_create(&files, error, sizeof(error));
        if (!credentials) {
            fprintf(stderr, "holdfast: %s\n", error);
            exit(CLI_USAGE);
        }
    }
    channel_options.credentials = credentials;
    channel = stub_channel_create(target, &channel_options);
    stub_credentials_destroy(credentials);
    return channel;
}

struct stub_channel *cli_channel(struct cli *cli)
{
    if (!cli->channel)
        cli->channel = cli_connect(cli, cli->server, 1);
    return cli->channel;
}

void cli_close(struct cli *cli)
{
    if (cli->channel)
        stub_channel_destroy(cli->channel);
    cli->channel = NULL;
}

struct stub_call_options cli_call_options(const struct cli *cli)
{
    return (struct stub_call_options){.timeout_us = cli->timeout_us};
}

void cli_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input)
{
    argp_err_exit_status = CLI_USAGE;
    options_check(argp, argc, argv, flags);
    argp_parse(argp, argc, argv, flags, NULL, input);
}

int cli_fail(const struct cli *cli, enum cli_call call, const struct stub_status *status)
{
    struct failure failure;

    failure_read(status, &failure);
    if (call == CLI_CALL_READS)
        failure_of_read(&failure);
    if (cli->json)
        cli_print_object(failure_json(&failure));
    else
        failure_print(&failure, stderr);
    failure_done(&failure);
    return CLI_SERVER;
}

void cli_print_object(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

void cli_print_json(const ProtobufCMessage *message)
{
    cli_print_object(json_from_message(message));
}

const char *cli_random_id(const char *prefix, char text[CLI_ID_BYTES])
{
    uint64_t number;

    CHECK(getrandom(&number, sizeof(number), 0) == (ssize_t)sizeof(number));
    snprintf(text, CLI_ID_BYTES, "%s%016" PRIx64, prefix, number);
    return text;
}
