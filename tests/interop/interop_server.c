/*
 * grpc.testing.TestService on its own:
 *
 *   interop_server [--port N] [--use_tls] [--tls_cert_file PEM] [--tls_key_file PEM]
 *
 * With TLS and no files: server1.pem and server1.key of the working directory. Prints the port and
 * serves until SIGTERM or SIGINT; 0 if every call was answered within a second then.
 */
#include "interop/flags.h"
#include "interop/service.h"
#include "stub/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GRACE_MS = 1000, WORKERS_MAX = 16 };

struct settings {
    const char *host;
    int port;
    int workers;
    bool use_tls;
    const char *certificate;
    const char *key;
};

static bool read_settings(struct settings *settings, int argc, char **argv)
{
    const struct flag flags[] = {
        {.name = "host", .text = &settings->host},
        {.name = "port", .number = &settings->port},
        {.name = "workers", .number = &settings->workers},
        {.name = "use_tls", .on = &settings->use_tls},
        {.name = "tls_cert_file", .text = &settings->certificate},
        {.name = "tls_key_file", .text = &settings->key},
    };

    return flags_read(flags, ARRAY_COUNT(flags), argc, argv) && settings->workers >= 1 &&
           settings->workers <= WORKERS_MAX;
}

static struct stub_server *create(const struct settings *settings)
{
    char address[256], error[256];
    const char *listen = address;
    struct stub_tls_files files = {.certificate = settings->certificate, .key = settings->key};
    struct stub_server_options options = {
        .listen = &listen, .listen_count = 1, .tls = settings->use_tls ? &files : NULL};
    struct stub_server *server;

    snprintf(address, sizeof(address), "%s:%d", settings->host, settings->port);
    server = stub_server_create(&options, error, sizeof(error));
    if (!server)
        fprintf(stderr, "interop_server: %s\n", error);
    return server;
}

static void *worker_thread(void *user)
{
    while (stub_server_next(user, -1, NULL) != STUB_NEXT_SHUTDOWN)
        ;
    return NULL;
}

/* True: all calls came to their end by themselves. */
static bool drain(struct stub_server *server)
{
    stub_health_shutdown(server);
    stub_server_drain(server);
    for (int i = 0; i < GRACE_MS && stub_server_calls(server) > 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return stub_server_calls(server) == 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {.host = "127.0.0.1",
                                .port = 10000,
                                .workers = 2,
                                .certificate = "server1.pem",
                                .key = "server1.key"};
    pthread_t threads[WORKERS_MAX];
    struct stub_server *server;
    struct service *service;
    sigset_t signals;
    bool drained;
    int received;

    if (!read_settings(&settings, argc, argv))
        return 2;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    server = create(&settings);
    if (!server)
        return 1;
    service = service_register(server);
    CHECK(stub_health_register(server));
    CHECK(stub_reflection_register(server));
    stub_health_set(server, "", true);
    CHECK(stub_server_start(server));
    for (int i = 0; i < settings.workers; i++)
        CHECK(pthread_create(&threads[i], NULL, worker_thread, server) == 0);
    printf("port %d\n", stub_server_port(server, 0));
    fflush(stdout);
    sigwait(&signals, &received);

    drained = drain(server);
    stub_server_stop(server);
    for (int i = 0; i < settings.workers; i++)
        pthread_join(threads[i], NULL);
    stub_server_destroy(server);
    service_destroy(service);
    return drained ? 0 : 1;
}
