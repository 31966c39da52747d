/* accept4 as Core's listener sees it once a server exists: descriptors run short, then out. */
#include "stub/accept.h"
#include "stub/server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIMIT = 64, SPARE = 16 };

static int listen_somewhere(struct sockaddr_in *address)
{
    socklen_t bytes = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
    cr_assert_eq(listen(fd, 64), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)address, &bytes), 0);
    return fd;
}

static int connect_there(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
    return fd;
}

static void limit_to(rlim_t descriptors)
{
    struct rlimit limit = {descriptors, descriptors};

    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Takes descriptors until the next one would be `next`. */
static void take_until(int next)
{
    for (int fd = 0; fd < next - 1;) {
        fd = open("/dev/null", O_RDONLY);
        cr_assert(fd >= 0 && fd < next);
    }
}

static bool is_closed(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;

    return poll(&wait, 1, 5000) == 1 && read(fd, &byte, 1) <= 0;
}

Test(accept, leaves_the_spare_descriptors_alone)
{
    struct sockaddr_in address, peer;
    socklen_t bytes = sizeof(peer);
    int listener = listen_somewhere(&address);
    int first, second, taken;

    limit_to(LIMIT);
    cr_assert(accept_guard(SPARE));
    first = connect_there(&address);
    second = connect_there(&address);
    take_until(LIMIT - SPARE - 1);
    taken = accept4(listener, (struct sockaddr *)&peer, &bytes, SOCK_CLOEXEC);
    cr_assert_eq(taken, LIMIT - SPARE - 1);
    cr_assert_eq(peer.sin_family, AF_INET);
    cr_assert_eq(fcntl(taken, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(accept4(listener, NULL, NULL, 0), -1);
    cr_assert_eq(errno, EAGAIN, "the second one is refused, and nobody waits any more");
    cr_assert(is_closed(second));
    cr_assert_eq(stub_connections_refused(), 1);
    close(first);
    close(taken);
    first = connect_there(&address); /* takes what was `first` */
    cr_assert_eq(accept4(listener, NULL, NULL, 0), taken, "room again");
}

Test(accept, closes_what_waits_when_there_is_no_descriptor_at_all)
{
    struct sockaddr_in address;
    int listener = listen_somewhere(&address);
    int clients[5], last;

    limit_to(LIMIT);
    cr_assert(accept_guard(SPARE));
    for (int i = 0; i < 5; i++)
        clients[i] = connect_there(&address);
    take_until(LIMIT);
    cr_assert_eq(open("/dev/null", O_RDONLY), -1);
    cr_assert_eq(accept4(listener, NULL, NULL, 0), -1);
    cr_assert_eq(errno, EAGAIN, "and not EMFILE, at which Core would give up");
    for (int i = 0; i < 5; i++)
        cr_assert(is_closed(clients[i]));
    cr_assert_eq(stub_connections_refused(), 5);
    close(LIMIT - 1);
    last = open("/dev/null", O_RDONLY);
    cr_assert_eq(last, LIMIT - 1, "the reserve is back in its place");
}

Test(accept, other_errors_stay_what_they_are)
{
    int pair[2];

    cr_assert(accept_guard(SPARE));
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    cr_assert_eq(accept4(pair[0], NULL, NULL, 0), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(accept4(-1, NULL, NULL, 0), -1);
    cr_assert_eq(errno, EBADF);
}

Test(accept, a_limit_without_room_is_said_at_the_start)
{
    struct stub_server_options options = {.descriptors_spare = LIMIT};
    char error[256] = "";

    limit_to(LIMIT);
    cr_assert_null(stub_server_create(&options, error, sizeof(error)));
    cr_assert(strstr(error, "RLIMIT_NOFILE"), "%s", error);
}
