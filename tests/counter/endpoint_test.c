#include "counter/endpoint.h"

#include <criterion/criterion.h>
#include <string.h>

Test(endpoint, the_three_forms_are_read)
{
    struct endpoint endpoint;

    cr_assert(endpoint_parse(&endpoint, "unix:/run/redis.sock"));
    cr_assert_str_eq(endpoint.path, "/run/redis.sock");
    endpoint_done(&endpoint);
    cr_assert(endpoint_parse(&endpoint, "redis.example:6379"));
    cr_assert_null(endpoint.path);
    cr_assert_str_eq(endpoint.host, "redis.example");
    cr_assert_str_eq(endpoint.port, "6379");
    endpoint_done(&endpoint);
    cr_assert(endpoint_parse(&endpoint, "[::1]:6379"));
    cr_assert_str_eq(endpoint.host, "::1");
    endpoint_done(&endpoint);
}

Test(endpoint, anything_else_is_refused)
{
    const char *wrong[] = {"", "host", ":1", "host:", "unix:"};
    char long_path[200] = "unix:/";
    struct endpoint endpoint;

    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        cr_assert(!endpoint_parse(&endpoint, wrong[i]), "%s", wrong[i]);
    memset(long_path + 6, 'x', sizeof(long_path) - 7);
    cr_assert(!endpoint_parse(&endpoint, long_path));
}

Test(endpoint, a_socket_that_is_not_there_is_an_error)
{
    struct endpoint endpoint;

    cr_assert(endpoint_parse(&endpoint, "unix:/nowhere/at/all"));
    cr_assert_eq(endpoint_connect(&endpoint), -1);
    endpoint_done(&endpoint);
}
