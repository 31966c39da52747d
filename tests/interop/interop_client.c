/*
 * Plays one case, or all of them (--test_case all), against a server of grpc.testing.TestService:
 *
 *   interop_client --server_host HOST --server_port N --test_case NAME
 *
 * 0 if all passed.
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
};

static bool read_settings(struct settings *settings, int argc, char **argv)
{
    const struct flag flags[] = {
        {.name = "server_host", .text = &settings->host},
        {.name = "server_port", .number = &settings->port},
        {.name = "test_case", .text = &settings->test_case},
    };

    return flags_read(flags, ARRAY_COUNT(flags), argc, argv);
}

static struct stub_channel *connect_to(const struct settings *settings)
{
    char target[256];

    snprintf(target, sizeof(target), "dns:///%s:%d", settings->host, settings->port);
    return stub_channel_create(target, NULL);
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
