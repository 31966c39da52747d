#include "base/address.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const struct address_use listen_use = {.usual_port = 7070, .listen = true, .tls = "; see --tls-cert"};
static const struct address_use redis_use = {.usual_port = 6379};

static struct address address;
static char error[ADDRESS_ERROR_BYTES];

static bool reads(const char *text, const struct address_use *use)
{
    error[0] = '\0';
    return address_parse(slice_from_cstr(text), use, &address, error);
}

static void expect(const char *text, enum address_kind kind, const char *host, uint16_t port)
{
    char again[ADDRESS_TEXT_BYTES];

    cr_assert(reads(text, &redis_use), "%s: %s", text, error);
    cr_assert_eq(address.kind, kind, "%s", text);
    cr_assert_str_eq(kind == ADDRESS_UNIX ? address.path : address.host, host);
    cr_assert_eq(address.port, port, "%s", text);
    cr_assert_str_eq(address_format(&address, again), text);
}

static void refuses(const char *text, const struct address_use *use, const char *says)
{
    cr_assert_not(reads(text, use), "\"%s\" was accepted", text);
    cr_assert(strstr(error, says), "\"%s\" is refused with: %s", text, error);
}

Test(address, every_form_is_read_and_written_as_it_was)
{
    expect("127.0.0.1:6379", ADDRESS_IPV4, "127.0.0.1", 6379);
    expect("0.0.0.0:1", ADDRESS_IPV4, "0.0.0.0", 1);
    expect("[::1]:65535", ADDRESS_IPV6, "::1", 65535);
    expect("[::ffff:10.0.0.1]:80", ADDRESS_IPV6, "::ffff:10.0.0.1", 80);
    expect("[fe80::1%eth0]:80", ADDRESS_IPV6, "fe80::1%eth0", 80);
    expect("localhost:7070", ADDRESS_NAME, "localhost", 7070);
    expect("db_1.example-x.org.:80", ADDRESS_NAME, "db_1.example-x.org.", 80);
    expect("1a:80", ADDRESS_NAME, "1a", 80);
}

Test(address, a_socket_is_its_absolute_path)
{
    expect("unix:/run/holdfast/socket", ADDRESS_UNIX, "/run/holdfast/socket", 0);
    cr_assert(reads("unix:///run/x", &redis_use), "%s", error);
    cr_assert_str_eq(address.path, "/run/x");
    refuses("unix:", &redis_use, "the path is missing");
    refuses("unix:run/x", &redis_use, "must be absolute");
    refuses("unix://host/x", &redis_use, "must be absolute");
    refuses("unix:/", &redis_use, "folder");
    refuses("unix:/run/", &redis_use, "folder");
    refuses("unix:/run/a b", &redis_use, "space");
    refuses("unix:/run/100%", &redis_use, "'%'");
    refuses("unix-abstract:x", &redis_use, "port");
    refuses("/run/x", &redis_use, "unix:/path");
}

Test(address, a_socket_path_has_the_length_that_the_kernel_takes)
{
    char text[200] = "unix:/";

    memset(text + 6, 'x', 106);
    cr_assert(reads(text, &redis_use), "%s", error);
    cr_assert_eq(strlen(address.path), ADDRESS_PATH_MAX);
    text[112] = 'x';
    refuses(text, &redis_use, "108 bytes");
}

Test(address, a_missing_part_is_named_with_what_to_write)
{
    refuses("", &redis_use, "it is empty");
    refuses("127.0.0.1", &redis_use, "write 127.0.0.1:6379");
    refuses("redis.example", &redis_use, "write redis.example:6379");
    refuses("[::1]", &listen_use, "write [::1]:7070");
    refuses("127.0.0.1:", &listen_use, "the port is missing");
    refuses(":7070", &listen_use, "0.0.0.0:PORT for every interface");
    refuses("*:7070", &listen_use, "0.0.0.0:PORT for every interface");
    refuses("7070", &listen_use, "write 127.0.0.1:7070");
}

Test(address, a_port_is_a_whole_number_in_range)
{
    refuses("127.0.0.1:65536", &redis_use, "from 1 to 65535");
    refuses("127.0.0.1:99999", &listen_use, "from 0 to 65535");
    refuses("127.0.0.1:18446744073709551617", &redis_use, "whole number");
    refuses("127.0.0.1:0", &redis_use, "from 1 to 65535");
    cr_assert(reads("127.0.0.1:0", &listen_use), "%s", error);
    refuses("127.0.0.1:+80", &redis_use, "whole number");
    refuses("127.0.0.1:-1", &redis_use, "whole number");
    refuses("127.0.0.1:080", &redis_use, "whole number");
    refuses("127.0.0.1:0x50", &redis_use, "whole number");
    refuses("127.0.0.1:80a", &redis_use, "whole number");
    refuses("127.0.0.1:http", &redis_use, "whole number");
    refuses("127.0.0.1:6379/0", &redis_use, "whole number");
}

Test(address, a_host_is_a_name_or_a_whole_numeric_address)
{
    refuses("127.0.0.256:80", &redis_use, "IPv4");
    refuses("127.1:80", &redis_use, "IPv4");
    refuses("1:80", &redis_use, "IPv4");
    refuses("::1:80", &redis_use, "write [::1]:80");
    refuses("::1", &redis_use, "write [::1]:6379");
    refuses("[::1", &redis_use, "']'");
    refuses("[::1]80", &redis_use, "after the ']'");
    refuses("[]:80", &redis_use, "IPv6");
    refuses("[127.0.0.1]:80", &redis_use, "IPv6");
    refuses("[fe80::1%]:80", &redis_use, "IPv6");
    refuses("-a.example:80", &redis_use, "neither a name");
    refuses("a..b:80", &redis_use, "neither a name");
    refuses("a,b:80", &redis_use, "neither a name");
    refuses("h\xc3\xb6st:80", &redis_use, "neither a name");
    refuses(" 127.0.0.1:80", &redis_use, "space");
    refuses("127.0.0.1:80\n", &redis_use, "space");
    refuses("127.0.0.1\x01:80", &redis_use, "control");
}

Test(address, a_name_has_the_length_that_dns_takes)
{
    char text[400] = "";

    for (int i = 0; i < 4; i++)
        snprintf(text + 63 * i, sizeof(text) - (size_t)(63 * i), "%062d.", 0);
    snprintf(text + 252, sizeof(text) - 252, "x:80");
    cr_assert(reads(text, &redis_use), "%s", error);
    snprintf(text + 252, sizeof(text) - 252, "xx:80");
    refuses(text, &redis_use, "neither a name");
    memset(text, 'a', 64);
    snprintf(text + 64, sizeof(text) - 64, ":80");
    refuses(text, &redis_use, "neither a name");
    memset(text, '[', 1);
    memset(text + 1, '1', 330);
    snprintf(text + 331, sizeof(text) - 331, "]:80");
    refuses(text, &redis_use, "IPv6");
}

Test(address, a_url_is_refused_with_what_to_write_instead)
{
    refuses("http://127.0.0.1:7070", &listen_use, "write 127.0.0.1:7070 instead");
    refuses("https://quota.example/x?y", &listen_use, "write quota.example:PORT instead; see --tls-cert");
    refuses("dns:///quota.example:7070", &listen_use, "write quota.example:7070 instead");
    refuses("redis://127.0.0.1:6379/0", &redis_use, "write 127.0.0.1:6379 instead");
    refuses("rediss://127.0.0.1:6379", &redis_use, "TLS is not supported here");
    refuses("redis://", &redis_use, "write HOST:PORT instead");
}

Test(address, a_password_is_refused_and_never_repeated)
{
    refuses("redis://:hunter2@127.0.0.1:6379", &redis_use, "password is not supported");
    cr_assert(strstr(error, "write 127.0.0.1:6379"), "%s", error);
    cr_assert_null(strstr(error, "hunter2"), "%s", error);
    refuses("redis://u:hun@ter2@h:1", &redis_use, "write h:1 instead");
    cr_assert_null(strstr(error, "ter2"), "%s", error);
    refuses("user:hunter2@127.0.0.1:6379", &redis_use, "password is not supported");
    cr_assert_null(strstr(error, "hunter2"), "%s", error);
}

static bool local(const char *text)
{
    cr_assert(reads(text, &listen_use), "%s", error);
    return address_is_local(&address);
}

Test(address, only_loopback_and_sockets_are_local)
{
    cr_assert(local("127.0.0.1:1"));
    cr_assert(local("127.255.255.254:1"));
    cr_assert(local("[::1]:1"));
    cr_assert(local("[0:0:0:0:0:0:0:1]:1"));
    cr_assert(local("[::ffff:127.0.0.1]:1"));
    cr_assert(local("localhost:1"));
    cr_assert(local("LocalHost:1"));
    cr_assert(local("unix:/x"));
    cr_assert_not(local("0.0.0.0:1"));
    cr_assert_not(local("[::]:1"));
    cr_assert_not(local("10.127.0.1:1"));
    cr_assert_not(local("127.example:1"));
    cr_assert_not(local("localhost.example:1"));
}

Test(address, equal_means_written_the_same)
{
    struct address first;

    cr_assert(reads("LOCALHOST:1", &listen_use));
    first = address;
    cr_assert(reads("localhost:1", &listen_use));
    cr_assert(address_equal(&first, &address));
    cr_assert(reads("localhost:2", &listen_use));
    cr_assert_not(address_equal(&first, &address));
}
