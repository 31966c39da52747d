/*
 * The echo service as a program: echo_server [ADDRESS [WORKERS [HANDSHAKE_MS [KEEPALIVE_MS [MEMORY_MB]]]]].
 * Prints where it listens; ends on SIGINT and SIGTERM.
 */
#include "echo/echo_service.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct echo_options options = {
        .listen = argc > 1 ? argv[1] : NULL,
        .workers = argc > 2 ? atoi(argv[2]) : 1,
        .server.handshake_ms = argc > 3 ? atoi(argv[3]) : 0,
        .server.keepalive_ms = argc > 4 ? atoi(argv[4]) : 0,
        .server.memory_bytes_max = argc > 5 ? (int64_t)atoi(argv[5]) << 20 : 0,
    };
    char error[256];
    struct echo *echo;
    sigset_t signals;
    int received;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    echo = echo_start(&options, error, sizeof(error));
    if (!echo) {
        fprintf(stderr, "echo_server: %s\n", error);
        return 1;
    }
    printf("%s\n", echo_target(echo));
    fflush(stdout);
    sigwait(&signals, &received);
    return echo_stop(echo, 1000) ? 0 : 1;
}
