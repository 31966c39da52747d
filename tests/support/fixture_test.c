/* The fixture itself, with a shell script in the place of the server. */
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Listens where it is told, drains for a moment, and ends as it should unless told to fail. */
static const char script[] =
    "#!/usr/bin/python3\n"
    "import os, signal, socket, sys, time\n"
    "def drain(*_):\n"
    "    time.sleep(0.1)\n"
    "    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, drain)\n"
    "host, port = sys.argv[sys.argv.index('--listen') + 1].split(':')\n"
    "s = socket.socket()\n"
    "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
    "s.bind((host, int(port)))\n"
    "s.listen()\n"
    "print(sys.argv, os.environ.get('HOLDFAST_FAULTS'), flush=True)\n"
    "while True:\n"
    "    signal.pause()\n";

static void use_script(void)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/stand_in", fixture_env("HOLDFAST_TEST_DIR"));
    file = fopen(path, "w");
    cr_assert(file != NULL);
    fputs(script, file);
    fclose(file);
    chmod(path, 0755);
    setenv("HOLDFAST_TEST_SERVER", path, 1);
}

static bool logged(const struct fixture_server *server, const char *text)
{
    char content[4096];
    FILE *file = fopen(server->log, "r");
    size_t n = file ? fread(content, 1, sizeof(content) - 1, file) : 0;

    if (file)
        fclose(file);
    content[n] = '\0';
    return strstr(content, text) != NULL;
}

TestSuite(fixture, .init = use_script);

Test(fixture, starts_stops_and_restarts_a_server_at_its_address)
{
    const char *args[] = {"--log-level", "debug", NULL};
    struct fixture_server server;
    char listen[64];

    fixture_server_start(&server, &(struct fixture_server_options){.workers = 3, .args = args});
    cr_assert(logged(&server, "'--workers', '3', '--log-level', 'debug'] None"));
    memcpy(listen, server.listen, sizeof(listen));
    fixture_server_kill(&server);
    fixture_server_restart(&server, &(struct fixture_server_options){.faults = "x=fail"});
    cr_assert_str_eq(server.listen, listen);
    cr_assert(logged(&server, "x=fail"));
    fixture_server_stop(&server);
    cr_assert_eq(server.pid, 0);
}

Test(fixture, asks_the_stores)
{
    fixture_sql_do("create table fixture as select 41 + %d as x", 1);
    cr_assert_eq(fixture_sql("select x from fixture"), 42);
    cr_assert_str_eq(fixture_sql_text("select 'a b'"), "a b");
    cr_assert_str_eq(fixture_redis_text("SET fixture %d", 7), "OK");
    cr_assert_eq(fixture_redis("INCR fixture"), 8);
}

Test(fixture, kills_stores_and_brings_them_back)
{
    fixture_redis_text("SET gone 1");
    fixture_stores("restart-redis", "--lose-data");
    cr_assert_eq(fixture_redis("EXISTS gone"), 0);
    fixture_stores("kill-postgres", NULL);
    fixture_stores("start-postgres", NULL);
    cr_assert_eq(fixture_sql("select 1"), 1);
}
