/* The bound on memory: who sends most while it grows is cut, and nobody without need. */
#include "stub/guard.h"

#include "stub/accept.h"
#include "stub/server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 256 * 1024, STEP = 1 << 20, BOUND = 256 << 20, GROWTH_MAX = 512 << 20 };

struct pair {
    int client;
    int server;
};

static struct pair connect_pair(int listener, const struct sockaddr_in *address)
{
    struct pair pair = {.client = socket(AF_INET, SOCK_STREAM, 0)};

    cr_assert_eq(connect(pair.client, (const struct sockaddr *)address, sizeof(*address)), 0);
    pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert_geq(pair.server, 0);
    return pair;
}

static int listen_somewhere(struct sockaddr_in *address)
{
    socklen_t bytes = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
    cr_assert_eq(listen(fd, 8), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)address, &bytes), 0);
    return fd;
}

/* Sends and reads one piece. False: the connection has ended. */
static bool pass(const struct pair *pair, char *piece)
{
    ssize_t sent = send(pair->client, piece, PIECE, MSG_NOSIGNAL | MSG_DONTWAIT);
    ssize_t got = recv(pair->server, piece, PIECE, MSG_DONTWAIT);

    return sent != -1 || got != 0;
}

static bool is_alive(const struct pair *pair)
{
    char byte = 'x';

    return send(pair->client, &byte, 1, MSG_NOSIGNAL) == 1 &&
           recv(pair->server, &byte, 1, 0) == 1 && byte == 'x';
}

/* Sends on the first pair, and takes a step of memory with each piece, until somebody is cut. */
static void grow(const struct pair *pair, char **steps, size_t steps_max)
{
    char *piece = calloc(1, PIECE);
    size_t taken = 0;

    for (int i = 0; i < 20000 && stub_connections_cut() == 0; i++) {
        pass(pair, piece);
        if (taken < steps_max && i % 4 == 0) {
            steps[taken] = malloc(STEP);
            memset(steps[taken++], 1, STEP);
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    for (size_t i = 0; i < taken; i++)
        free(steps[i]);
    free(piece);
}

Test(guard, cuts_who_sends_while_memory_grows_beyond_the_bound)
{
    struct sockaddr_in address;
    int listener = listen_somewhere(&address);
    struct guard *guard;
    struct pair busy, quiet;
    char **steps = calloc(GROWTH_MAX / STEP, sizeof(*steps)), byte;

    cr_assert(accept_guard(0));
    guard = guard_create(BOUND);
    cr_assert(guard);
    quiet = connect_pair(listener, &address);
    busy = connect_pair(listener, &address);
    cr_assert(is_alive(&quiet) && is_alive(&busy));
    grow(&busy, steps, GROWTH_MAX / STEP);
    cr_assert_eq(stub_connections_cut(), 1);
    cr_assert_eq(recv(busy.server, &byte, 1, 0), 0, "what was not read is gone");
    cr_assert(is_alive(&quiet));
    guard_destroy(guard);
    free(steps);
}

Test(guard, leaves_alone_who_sends_within_the_bound)
{
    struct sockaddr_in address;
    int listener = listen_somewhere(&address);
    struct guard *guard;
    struct pair busy;
    char *piece = calloc(1, PIECE);

    cr_assert(accept_guard(0));
    guard = guard_create(INT64_C(1) << 40);
    cr_assert(guard);
    busy = connect_pair(listener, &address);
    for (int i = 0; i < 500; i++)
        cr_assert(pass(&busy, piece));
    cr_assert_eq(stub_connections_cut(), 0);
    guard_destroy(guard);
    free(piece);
}

Test(guard, forgets_a_connection_that_was_closed)
{
    struct sockaddr_in address;
    int listener = listen_somewhere(&address);
    struct guard *guard;
    struct pair busy, other;
    char **steps = calloc(GROWTH_MAX / STEP, sizeof(*steps));

    cr_assert(accept_guard(0));
    guard = guard_create(BOUND);
    cr_assert(guard);
    busy = connect_pair(listener, &address);
    other.client = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(other.client, (struct sockaddr *)&address, sizeof(address)), 0);
    close(busy.server); /* the next one, which no guard has met, gets its number */
    other.server = accept(listener, NULL, NULL);
    cr_assert_eq(other.server, busy.server);
    for (int i = 0; i < GROWTH_MAX / STEP; i++) {
        char *piece = malloc(PIECE);

        memset(piece, 0, PIECE);
        cr_assert(pass(&other, piece));
        free(piece);
        steps[i] = malloc(STEP);
        memset(steps[i], 1, STEP);
    }
    cr_assert_eq(stub_connections_cut(), 0);
    for (int i = 0; i < GROWTH_MAX / STEP; i++)
        free(steps[i]);
    free(steps);
    guard_destroy(guard);
}

Test(guard, accepts_null)
{
    guard_destroy(NULL);
}
