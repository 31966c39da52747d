#include "counter/endpoint.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

Test(endpoint, a_socket_that_is_not_there_is_an_error)
{
    const struct address address = {.kind = ADDRESS_UNIX, .path = "/nowhere/at/all"};

    cr_assert_eq(endpoint_connect(&address), -1);
    cr_assert_eq(errno, ENOENT);
}

Test(endpoint, connects_to_a_port_without_waiting)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct address address = {.kind = ADDRESS_IPV4, .host = "127.0.0.1"};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct pollfd item = {.events = POLLOUT};
    socklen_t len = sizeof(bound);

    cr_assert_eq(bind(listener, (struct sockaddr *)&bound, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&bound, &len), 0);
    address.port = ntohs(bound.sin_port);
    item.fd = endpoint_connect(&address);
    cr_assert_geq(item.fd, 0);
    cr_assert_eq(poll(&item, 1, 5000), 1);
    cr_assert_eq(endpoint_connected(item.fd), 0);
    close(item.fd);
    close(listener);
}
