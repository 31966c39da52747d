#include "tests/support/fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SERVES_MS = 60000, DRAINS_MS = 20000, ARGS_MAX = 32, TEXT_MAX = 4096 };

extern char **environ;

const char *fixture_env(const char *name)
{
    const char *value = getenv(name);

    cr_assert(value != NULL, "%s is not set: run the test through ctest", name);
    return value;
}

int64_t fixture_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Who waits for seconds asks less and less often: a look may be a connection to a store. */
enum { LOOK_MIN_US = 5000, LOOK_MAX_US = 200000, LOOKS = 20 };

static useconds_t until_next_look_us(int64_t waited_us)
{
    int64_t us = waited_us / LOOKS;

    return (useconds_t)(us < LOOK_MIN_US ? LOOK_MIN_US : us > LOOK_MAX_US ? LOOK_MAX_US : us);
}

bool fixture_until(int64_t deadline_ms, bool (*condition)(void *user), void *user)
{
    int64_t begun_us = fixture_now_us(), waited_us = 0;

    while (!condition(user)) {
        waited_us = fixture_now_us() - begun_us;
        if (waited_us > deadline_ms * 1000)
            return condition(user);
        usleep(until_next_look_us(waited_us));
    }
    return true;
}

/* ---- servers ---- */

struct stub_channel *fixture_channel(const char *target, const struct stub_channel_options *options)
{
    struct stub_channel_options with_tls = options ? *options : (struct stub_channel_options){0};
    const struct stub_tls_files files = {
        .certificate = getenv("HOLDFAST_TLS_CLIENT_CERT"),
        .key = getenv("HOLDFAST_TLS_CLIENT_KEY"),
        .authority = getenv("HOLDFAST_TLS_CA"),
    };
    struct stub_credentials *credentials = NULL;
    struct stub_channel *channel;
    char error[1024];

    if (files.authority) {
        credentials = stub_credentials_create(&files, error, sizeof(error));
        cr_assert(credentials, "%s", error);
    }
    with_tls.credentials = credentials;
    channel = stub_channel_create(target, &with_tls);
    stub_credentials_destroy(credentials);
    return channel;
}

/* One key file per stores, made by whichever test comes first. */
static const char *token_keys(void)
{
    static const char key[] = "1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    static char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/token.keys", fixture_env("HOLDFAST_TEST_DIR"));
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        cr_assert(write(fd, key, sizeof(key) - 1) == (ssize_t)sizeof(key) - 1);
        close(fd);
    }
    return path;
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* In the child: becomes the server. Only what is safe between fork and exec. */
static _Noreturn void become_server(const struct fixture_server *server, char *const *args,
                                    char *const *environment)
{
    int log = open(server->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int null = open("/dev/null", O_RDONLY);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    execve(args[0], args, environment);
    _exit(127);
}

static void spawn(struct fixture_server *server, const struct fixture_server_options *options)
{
    static const struct fixture_server_options none;
    const char *args[ARGS_MAX];
    char workers[16];
    size_t n = 0;

    if (!options)
        options = &none;
    args[n++] = fixture_env("HOLDFAST_TEST_SERVER");
    args[n++] = "--listen";
    args[n++] = server->listen;
    args[n++] = "--redis";
    args[n++] = fixture_env("HOLDFAST_TEST_REDIS");
    args[n++] = "--postgres";
    args[n++] = fixture_env("HOLDFAST_TEST_POSTGRES");
    args[n++] = "--token-keys";
    args[n++] = token_keys();
    if (options->workers > 0) {
        snprintf(workers, sizeof(workers), "%d", options->workers);
        args[n++] = "--workers";
        args[n++] = workers;
    }
    for (const char *const *more = options->args; more && *more; more++) {
        cr_assert(n < ARGS_MAX - 1);
        args[n++] = *more;
    }
    args[n] = NULL;
    if (options->faults)
        setenv("HOLDFAST_FAULTS", options->faults, 1);
    server->pid = fork();
    if (server->pid == 0)
        become_server(server, (char *const *)(uintptr_t)args, environ);
    unsetenv("HOLDFAST_FAULTS");
    cr_assert(server->pid > 0);
}

void fixture_server_spawn(struct fixture_server *ret_server,
                          const struct fixture_server_options *options)
{
    int port = free_port();

    memset(ret_server, 0, sizeof(*ret_server));
    snprintf(ret_server->listen, sizeof(ret_server->listen), "127.0.0.1:%d", port);
    snprintf(ret_server->log, sizeof(ret_server->log), "%s/server-%d.log",
             fixture_env("HOLDFAST_TEST_DIR"), port);
    spawn(ret_server, options);
}

static bool serves(void *user)
{
    const struct fixture_server *server = user;
    struct sockaddr_in address = {.sin_family = AF_INET};
    int status;
    int fd;
    bool connected;

    cr_assert(waitpid(server->pid, &status, WNOHANG) == 0, "holdfastd ended at its start: %s",
              server->log);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtol(strchr(server->listen, ':') + 1, NULL, 10));
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connected = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return connected;
}

void fixture_server_wait(struct fixture_server *server)
{
    cr_assert(fixture_until(SERVES_MS, serves, server), "holdfastd does not serve: %s", server->log);
}

void fixture_server_start(struct fixture_server *ret_server,
                          const struct fixture_server_options *options)
{
    fixture_server_spawn(ret_server, options);
    fixture_server_wait(ret_server);
}

struct ended {
    pid_t pid;
    int status;
};

static bool has_ended(void *user)
{
    struct ended *ended = user;

    return waitpid(ended->pid, &ended->status, WNOHANG) == ended->pid;
}

void fixture_server_stop(struct fixture_server *server)
{
    struct ended ended = {.pid = server->pid};

    cr_assert(server->pid > 0 && kill(server->pid, SIGTERM) == 0);
    cr_assert(fixture_until(DRAINS_MS, has_ended, &ended), "holdfastd does not end: %s",
              server->log);
    server->pid = 0;
    cr_assert(WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == 0,
              "holdfastd ended with wait status %d: %s", ended.status, server->log);
}

void fixture_server_kill(struct fixture_server *server)
{
    cr_assert(server->pid > 0 && kill(server->pid, SIGKILL) == 0);
    cr_assert(waitpid(server->pid, NULL, 0) == server->pid);
    server->pid = 0;
}

void fixture_server_restart(struct fixture_server *server,
                            const struct fixture_server_options *options)
{
    if (server->pid > 0)
        fixture_server_kill(server);
    spawn(server, options);
    fixture_server_wait(server);
}

/* ---- stores ---- */

void fixture_stores(const char *command, const char *option)
{
    const char *args[] = {fixture_env("HOLDFAST_TEST_STORES"), command,
                          fixture_env("HOLDFAST_TEST_DIR"), option, NULL};
    int status = -1;
    pid_t pid;

    cr_assert(posix_spawn(&pid, args[0], NULL, NULL, (char *const *)(uintptr_t)args, environ) == 0);
    cr_assert(waitpid(pid, &status, 0) == pid);
    cr_assert(status == 0, "deploy/stores %s failed", command);
}

static const char *sql_text(const char *format, va_list args, bool want)
{
    static _Thread_local char value[TEXT_MAX];
    char query[TEXT_MAX];
    PGconn *connection = PQconnectdb(fixture_env("HOLDFAST_TEST_POSTGRES"));
    PGresult *result;

    cr_assert(PQstatus(connection) == CONNECTION_OK, "%s", PQerrorMessage(connection));
    vsnprintf(query, sizeof(query), format, args);
    result = PQexec(connection, query);
    cr_assert(PQresultStatus(result) == PGRES_TUPLES_OK ||
                  (!want && PQresultStatus(result) == PGRES_COMMAND_OK),
              "%s: %s", query, PQerrorMessage(connection));
    value[0] = '\0';
    if (want) {
        cr_assert(PQntuples(result) > 0, "no row: %s", query);
        snprintf(value, sizeof(value), "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    PQfinish(connection);
    return value;
}

const char *fixture_sql_text(const char *format, ...)
{
    const char *text;
    va_list args;

    va_start(args, format);
    text = sql_text(format, args, true);
    va_end(args);
    return text;
}

int64_t fixture_sql(const char *format, ...)
{
    const char *text;
    va_list args;

    va_start(args, format);
    text = sql_text(format, args, true);
    va_end(args);
    return strtoll(text, NULL, 10);
}

void fixture_sql_do(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    sql_text(format, args, false);
    va_end(args);
}

static const char *redis_text(const char *format, va_list args)
{
    static _Thread_local char value[TEXT_MAX];
    char command[TEXT_MAX];
    char *words[ARGS_MAX];
    char *at = NULL;
    int n = 0;
    redisContext *redis = redisConnectUnix(fixture_env("HOLDFAST_TEST_REDIS") + strlen("unix:"));
    redisReply *reply;

    cr_assert(redis != NULL && redis->err == 0, "%s", redis ? redis->errstr : "no memory");
    vsnprintf(command, sizeof(command), format, args);
    for (char *word = strtok_r(command, " ", &at); word; word = strtok_r(NULL, " ", &at)) {
        cr_assert(n < ARGS_MAX);
        words[n++] = word;
    }
    reply = redisCommandArgv(redis, n, (const char **)(uintptr_t)words, NULL);
    cr_assert(reply != NULL && reply->type != REDIS_REPLY_ERROR, "%s: %s", words[0],
              reply ? reply->str : redis->errstr);
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(value, sizeof(value), "%lld", reply->integer);
    else
        snprintf(value, sizeof(value), "%s", reply->str ? reply->str : "");
    freeReplyObject(reply);
    redisFree(redis);
    return value;
}

const char *fixture_redis_text(const char *format, ...)
{
    const char *text;
    va_list args;

    va_start(args, format);
    text = redis_text(format, args);
    va_end(args);
    return text;
}

int64_t fixture_redis(const char *format, ...)
{
    const char *text;
    va_list args;

    va_start(args, format);
    text = redis_text(format, args);
    va_end(args);
    return strtoll(text, NULL, 10);
}
