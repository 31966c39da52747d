/*
 * Plays one case, or all of them (--test_case all), against a server of grpc.testing.TestService:
 *
 *   interop_client --server_host HOST --server_port N --test_case NAME
 *       [--use_tls] [--use_test_ca] [--ca_file PEM] [--server_host_override NAME]
 *
 * Without --ca_file TLS trusts the system's authorities, with --use_test_ca ca.pem of the working
 * directory. 0 if all passed.
 */
#include "interop/cases.h"
#include "interop/flags.h"
#include "stub/client.h"

#include <stdio.h>
#include <string.h>

struct settings {
    const char *host;
    int port;
    const char *test_case;
    bool use_tls;
    bool use_test_ca;
    const char *authority;
    const char *server_name;
};

static bool read_settings(struct settings *settings, int argc, char **argv)
{
    const struct flag flags[] = {
        {.name = "server_host", .text = &settings->host},
        {.name = "server_port", .number = &settings->port},
        {.name = "test_case", .text = &settings->test_case},
        {.name = "use_tls", .on = &settings->use_tls},
        {.name = "use_test_ca", .on = &settings->use_test_ca},
        {.name = "ca_file", .text = &settings->authority},
        {.name = "server_host_override", .text = &settings->server_name},
    };

    return flags_read(flags, ARRAY_COUNT(flags), argc, argv);
}

/* NULL: it is said. */
static struct stub_channel *connect_to(const struct settings *settings)
{
    struct stub_tls_files files = {.authority = settings->authority};
    struct stub_channel_options options = {.server_name = settings->server_name};
    struct stub_credentials *credentials = NULL;
    struct stub_channel *channel;
    char target[256], error[256];

    if (settings->use_test_ca && !files.authority)
        files.authority = "ca.pem";
    if (settings->use_tls) {
        credentials = stub_credentials_create(&files, error, sizeof(error));
        if (!credentials) {
            fprintf(stderr, "interop_client: %s\n", error);
            return NULL;
        }
        options.credentials = credentials;
    }
    snprintf(target, sizeof(target), "dns:///%s:%d", settings->host, settings->port);
    channel = stub_channel_create(target, &options);
    if (credentials)
        stub_credentials_destroy(credentials);
    return channel;
}

int main(int argc, char **argv)
{
    struct settings settings = {.host = "localhost", .port = 10000, .test_case = "large_unary"};
    char error[CASE_ERROR_MAX] = "";
    struct stub_channel *channel;
    int played = 0, failed = 0;

    if (!read_settings(&settings, argc, argv))
        return 2;
    channel = connect_to(&settings);
    if (!channel)
        return 1;
    for (size_t i = 0; i < interop_cases_count; i++) {
        const struct interop_case *it = &interop_cases[i];

        if (strcmp(settings.test_case, "all") != 0 && strcmp(settings.test_case, it->name) != 0)
            continue;
        played++;
        if (it->play(channel, error)) {
            printf("ok   %s\n", it->name);
        } else {
            printf("FAIL %s: %s\n", it->name, error);
            failed++;
        }
    }
    stub_channel_destroy(channel);
    if (played == 0)
        fprintf(stderr, "interop_client: no case \"%s\"\n", settings.test_case);
    return played > 0 && failed == 0 ? 0 : 1;
}
