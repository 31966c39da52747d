#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void exec_redis(const struct fixture *fixture)
{
    int null = open("/dev/null", O_RDWR);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", fixture->socket, "--dir",
           fixture->folder, "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
           "--zset-max-listpack-entries", "34", "--hash-max-listpack-entries", "32",
           "--hash-max-listpack-value", "128", (char *)NULL);
    _exit(127);
}

void fixture_start_redis(struct fixture *fixture)
{
    fixture->redis = fork();
    cr_assert(fixture->redis >= 0);
    if (fixture->redis == 0)
        exec_redis(fixture);
    for (int i = 0; i < 2000; i++) {
        if (strcmp(fixture_cli(fixture, "PING"), "PONG") == 0)
            return;
        usleep(5000);
    }
    cr_assert_fail("redis-server does not answer");
}

void fixture_kill_redis(struct fixture *fixture)
{
    kill(fixture->redis, SIGKILL);
    waitpid(fixture->redis, NULL, 0);
    fixture->redis = 0;
}

static void begin_shard(struct fixture *fixture)
{
    struct counter_observe observe = {.call = fixture_call(fixture, COUNTER_OBSERVE)};
    struct counter_init init;

    counter_add(fixture->counter, &observe.call);
    counter_run(fixture->counter);
    cr_assert_eq(observe.call.status, STATUS_OK);
    memcpy(fixture->view.replid, observe.call.observed.replid, sizeof(fixture->view.replid));
    init = (struct counter_init){.call = fixture_call(fixture, COUNTER_INIT)};
    fixture_run(fixture, &init.call);
}

void fixture_set_up(struct fixture *fixture)
{
    struct counter_options options = {.connect_timeout_ms = 1000, .timeout_ms = 5000};

    memset(fixture, 0, sizeof(*fixture));
    signal(SIGPIPE, SIG_IGN);
    arena_init(&fixture->arena, 1 << 16, 1 << 28);
    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/counter-test-XXXXXX");
    cr_assert(mkdtemp(fixture->folder));
    snprintf(fixture->socket, sizeof(fixture->socket), "%s/redis", fixture->folder);
    snprintf(fixture->address, sizeof(fixture->address), "unix:%s", fixture->socket);
    fixture_start_redis(fixture);
    options.address = fixture->address;
    fixture->counter = counter_create(&options);
    fixture->view = (struct shard_view){.shard = 17, .epoch = EPOCH, .active = true};
    memset(fixture->view.nonce, 'a', NONCE_CHARS);
    begin_shard(fixture);
}

int fixture_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    cr_assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    cr_assert(listen(fd, 8) == 0);
    return fd;
}

void fixture_tear_down(struct fixture *fixture)
{
    counter_destroy(fixture->counter);
    if (fixture->redis)
        fixture_kill_redis(fixture);
    unlink(fixture->socket);
    rmdir(fixture->folder);
    arena_done(&fixture->arena);
}

const char *fixture_cli(struct fixture *fixture, const char *format, ...)
{
    static char reply[1 << 16];
    char command[4096];
    int head = snprintf(command, sizeof(command), "redis-cli -s %s ", fixture->socket);
    va_list args;
    FILE *pipe;
    size_t len;
    char *copy;

    va_start(args, format);
    vsnprintf(command + head, sizeof(command) - (size_t)head - 16, format, args);
    va_end(args);
    strcat(command, " 2>&1");
    pipe = popen(command, "r");
    cr_assert(pipe);
    len = fread(reply, 1, sizeof(reply) - 1, pipe);
    pclose(pipe);
    while (len > 0 && reply[len - 1] == '\n')
        len--;
    copy = arena_strndup(&fixture->arena, reply, len);
    cr_assert(copy);
    return copy;
}

struct counter_call fixture_call(struct fixture *fixture, enum counter_kind kind)
{
    return (struct counter_call){.kind = kind, .view = fixture->view, .arena = &fixture->arena};
}

void fixture_run(struct fixture *fixture, struct counter_call *call)
{
    counter_add(fixture->counter, call);
    counter_run(fixture->counter);
    cr_assert_eq(call->status, STATUS_OK, "%s: %s", status_name(call->status),
                 counter_last_error(fixture->counter));
    cr_assert_eq(call->guard, GUARD_PASSED);
    cr_assert_eq(call->below_zero.len, 0);
}

struct counter_totals totals_of(int64_t limit_id, int64_t lease_id, int64_t granted)
{
    return (struct counter_totals){.tenant_id = TENANT,
                                   .ref = {limit_id, 0},
                                   .lease_id = lease_id,
                                   .granted = granted,
                                   .lease_deadline_ms = LEASE_END};
}

void fixture_begin(struct fixture *fixture, const struct shard_view *view,
                   struct counter_totals totals)
{
    const struct counter_version version = {totals.tenant_id, VERSION};
    struct counter_init init = {.call = fixture_call(fixture, COUNTER_INIT)};
    struct counter_fill fill = {.call = fixture_call(fixture, COUNTER_FILL),
                                .totals_count = 1,
                                .totals = &totals,
                                .versions_count = 1,
                                .versions = &version};

    init.call.view = fill.call.view = *view;
    if (view->shard != fixture->view.shard)
        fixture_run(fixture, &init.call);
    fixture_run(fixture, &fill.call);
}

void fixture_fill(struct fixture *fixture, struct counter_totals *totals, size_t count)
{
    const struct counter_version version = {TENANT, VERSION};
    struct counter_fill fill = {.call = fixture_call(fixture, COUNTER_FILL),
                                .totals_count = count,
                                .totals = totals,
                                .versions_count = 1,
                                .versions = &version};

    fixture_run(fixture, &fill.call);
}

struct counter_reserve_item item_over(struct fixture *fixture, const char *job, size_t quotas,
                                      int64_t units)
{
    struct hold_quota *list = arena_array(&fixture->arena, quotas, sizeof(*list));
    int64_t *softs = arena_array(&fixture->arena, quotas, sizeof(*softs));
    char *identity = arena_printf(&fixture->arena, "team/x|1|tokens=%" PRId64, units);
    char *name = arena_printf(&fixture->arena, "%s", job);

    cr_assert(list && softs && identity && name);
    for (size_t i = 0; i < quotas; i++) {
        list[i] = (struct hold_quota){.quota = {(int64_t)i + 1, 0}, .units = units};
        softs[i] = INT64_C(1) << 50;
    }
    return (struct counter_reserve_item){.tenant_id = TENANT,
                                         .config_version = VERSION,
                                         .job_id = slice_from_cstr(name),
                                         .identity = slice_from_cstr(identity),
                                         .deadline_ms = DEADLINE,
                                         .quotas_count = quotas,
                                         .quotas = list,
                                         .softs = softs};
}

struct counter_reserve_item item_of(struct fixture *fixture, const char *job, int64_t units)
{
    return item_over(fixture, job, 1, units);
}

void fixture_reserve(struct fixture *fixture, struct counter_reserve_item *items, size_t count)
{
    struct counter_reserve reserve = {.call = fixture_call(fixture, COUNTER_RESERVE),
                                      .now_ms = NOW,
                                      .items_count = count,
                                      .items = items};

    fixture_run(fixture, &reserve.call);
}

struct counter_reserve_item fixture_admit(struct fixture *fixture, const char *job, int64_t units)
{
    struct counter_reserve_item item = item_of(fixture, job, units);

    fixture_reserve(fixture, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED, "answer %d", item.answer);
    item.entry = fixture_entry(fixture, job);
    return item;
}

void fixture_notify(struct fixture *fixture, const char *job, const struct attempt *released,
                    struct counter_totals *totals, size_t totals_count)
{
    struct counter_notify_job notified = {.tenant_id = TENANT,
                                          .job_id = slice_from_cstr(job),
                                          .committed = !released};
    struct counter_notify notify = {.call = fixture_call(fixture, COUNTER_NOTIFY),
                                    .now_ms = NOW,
                                    .jobs_count = 1,
                                    .jobs = &notified,
                                    .totals_count = totals_count,
                                    .totals = totals};

    if (released)
        notified.attempt = *released;
    fixture_run(fixture, &notify.call);
}

struct counter_quota fixture_quota(struct fixture *fixture, int64_t limit_id)
{
    struct quota_ref ref = {limit_id, 0};
    struct counter_read read = {.call = fixture_call(fixture, COUNTER_READ),
                                .tenant_id = TENANT,
                                .refs_count = 1,
                                .refs = &ref};

    fixture_run(fixture, &read.call);
    return read.states[0];
}

void fixture_set_number(struct fixture *fixture, int64_t limit_id, const char *name, int64_t value)
{
    static const char *const names[] = {"H", "L", "G", "B", "S", "D", "C", "Cv", "Cd", "W", "E"};
    struct slice rest =
        slice_from_cstr(fixture_cli(fixture, "hget " KEY_T " %" PRId64 ":0", limit_id));
    char text[512];
    size_t len = 0;

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct slice field = {0};

        cr_assert(slice_cut(&rest, ' ', &field));
        if (strcmp(names[i], name) == 0)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%" PRId64 " ", value);
        else
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s ", SLICE_ARGS(field));
    }
    text[len - 1] = '\0';
    fixture_cli(fixture, "hset " KEY_T " %" PRId64 ":0 '%s'", limit_id, text);
}

struct slice fixture_entry(struct fixture *fixture, const char *job)
{
    struct slice name = slice_from_cstr(job);
    struct counter_lookup lookup = {.call = fixture_call(fixture, COUNTER_LOOKUP),
                                    .tenant_id = TENANT,
                                    .jobs_count = 1,
                                    .jobs = &name};

    fixture_run(fixture, &lookup.call);
    return lookup.entries[0];
}
