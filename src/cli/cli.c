#include "cli/cli.h"

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

static const struct argp_option options[] = {
    {"server", 'S', "ADDRESS", 0, "server to call (default: $HOLDFAST_LISTEN, 127.0.0.1:7070)", -2},
    {"timeout", 'T', "DURATION", 0, "longest wait for one call (default: 10s)", -2},
    {"json", KEY_JSON, NULL, 0, "print JSON", -2},
    {"tls-ca", KEY_TLS_CA, "FILE", 0,
     "call by TLS, servers with a certificate of these authorities (default: $HOLDFAST_TLS_CA)", -2},
    {"tls-cert", KEY_TLS_CERT, "FILE", 0,
     "own certificate (default: $HOLDFAST_TLS_CLIENT_CERT)", -2},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "its key (default: $HOLDFAST_TLS_CLIENT_KEY)", -2},
    {"tls-server-name", KEY_TLS_SERVER_NAME, "NAME", 0,
     "name in the server's certificate if it is not that of --server (default: "
     "$HOLDFAST_TLS_SERVER_NAME)", -2},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct cli *cli = state->input;

    switch (key) {
    case 'S':
        cli->server = arg;
        return 0;
    case 'T':
        if (!duration_parse(arg, &cli->timeout_us) || cli->timeout_us == 0)
            argp_error(state, "--timeout: \"%s\" is not a duration such as 500ms, 30s or 15m", arg);
        return 0;
    case KEY_JSON:
        cli->json = true;
        return 0;
    case KEY_TLS_CA:
        cli->tls_ca = arg;
        return 0;
    case KEY_TLS_CERT:
        cli->tls_cert = arg;
        return 0;
    case KEY_TLS_KEY:
        cli->tls_key = arg;
        return 0;
    case KEY_TLS_SERVER_NAME:
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

struct stub_channel *cli_connect(struct cli *cli, const char *server, int connections)
{
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
    char error[1024];

    /* Unix sockets are plaintext at the server, too. */
    if ((files.certificate || files.key || files.authority) && strncmp(server, "unix:", 5) != 0) {
        credentials = stub_credentials_create(&files, error, sizeof(error));
        if (!credentials) {
            fprintf(stderr, "holdfast: %s\n", error);
            exit(CLI_USAGE);
        }
    }
    channel_options.credentials = credentials;
    channel = stub_channel_create(server, &channel_options);
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

int cli_fail(const struct cli *cli, const struct stub_status *status)
{
    struct failure failure;

    failure_read(status, &failure);
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
