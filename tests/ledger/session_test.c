/* A database that could lose what it has confirmed is refused. Settings are the whole server's. */
#include "tests/ledger/support.h"

#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool refused(void *user)
{
    const char *name = user;
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status status = database_ping(db);
    bool named = strstr(database_error(db), name) != NULL;

    database_destroy(db);
    return status == STATUS_REFUSED && named;
}

static bool accepted(void *user)
{
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status status = database_ping(db);

    (void)user;
    database_destroy(db);
    return status == STATUS_OK;
}

static void set(const char *name, const char *value)
{
    fixture_sql_do("ALTER SYSTEM SET %s = %s", name, value);
    fixture_sql_do("SELECT pg_reload_conf()");
}

Test(session, refuses_unsafe_settings_and_names_them)
{
    char fsync[] = "fsync=off";
    char full_page_writes[] = "full_page_writes=off";

    cr_assert(accepted(NULL));
    set("fsync", "off");
    cr_assert(fixture_until(10000, refused, fsync));
    set("fsync", "on");
    set("full_page_writes", "off");
    cr_assert(fixture_until(10000, refused, full_page_writes));
    set("full_page_writes", "on");
    cr_assert(fixture_until(10000, accepted, NULL));
    /* The default of the role does not matter: the session sets its own. */
    set("synchronous_commit", "off");
    cr_assert(fixture_until(10000, accepted, NULL));
}

/* A port that takes connections and says nothing, as a host that hangs. */
static int listen_silently(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, bytes), 0);
    cr_assert_eq(listen(fd, 16), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static enum status ping_ports(const char *ports, char error[256])
{
    char conninfo[256];
    struct database *db;
    enum status status;

    snprintf(conninfo, sizeof(conninfo),
             "host=127.0.0.1,127.0.0.1 port=%s user=postgres dbname=holdfast "
             "target_session_attrs=read-write",
             ports);
    db = database_create(&(struct database_options){.conninfo = conninfo,
                                                    .connect_timeout_ms = 1000,
                                                    .clock = clock_real()});
    status = database_ping(db);
    snprintf(error, 256, "%s", database_error(db));
    database_destroy(db);
    return status;
}

/* libpq alone would wait at the first host for all the time that it is given. */
Test(session, goes_on_to_the_next_host_where_one_says_nothing)
{
    const char *real = strrchr(fixture_env("HOLDFAST_TEST_POSTGRES"), ':') + 1;
    char ports[64], error[256];
    int64_t begun_us, took_us;
    int port, fd = listen_silently(&port);

    snprintf(ports, sizeof(ports), "%d,%.*s", port, (int)strcspn(real, "/"), real);
    begun_us = clock_mono_us(clock_real());
    cr_assert_eq(ping_ports(ports, error), STATUS_OK, "%s", error);
    took_us = clock_mono_us(clock_real()) - begun_us;
    cr_assert_geq(took_us, 900 * 1000, "the silent one was tried first");
    /* The one that works is first from now on: ten do not take a second each. */
    begun_us = clock_mono_us(clock_real());
    for (int i = 0; i < 10; i++)
        cr_assert_eq(ping_ports(ports, error), STATUS_OK, "%s", error);
    cr_assert_lt(clock_mono_us(clock_real()) - begun_us, 9 * 1000 * 1000);
    snprintf(ports, sizeof(ports), "%d,%d", port, port);
    cr_assert_eq(ping_ports(ports, error), STATUS_UNAVAILABLE, "%s", error);
    close(fd);
}

/* What nobody can connect to is told, not tried for ever. */
Test(session, lists_that_do_not_match_are_refused)
{
    char error[256];

    cr_assert_eq(ping_ports("1,2,3", error), STATUS_REFUSED, "%s", error);
    cr_assert(strstr(error, "could not match"), "%s", error);
}
