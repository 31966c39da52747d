/*
 * holdfastd: reads the configuration, builds bottom-up, serves, drains, destroys top-down. The only
 * file that sees every folder.
 *
 * Threads: main waits for signals; --workers workers serve calls; committer, two granters, four desks,
 * janitor and hub each do what their headers say. src/README.md has the map.
 */
#include "base/address.h"
#include "base/breaker.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/standard.h"
#include "base/thread.h"
#include "ledger/alarms.h"
#include "ledger/committer.h"
#include "ledger/database.h"
#include "ledger/pulse.h"
#include "notice/hub.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/commit.h"
#include "op/desk.h"
#include "op/degraded.h"
#include "op/dirty.h"
#include "op/open.h"
#include "op/granter.h"
#include "op/inbox.h"
#include "op/crier.h"
#include "op/crossings.h"
#include "op/janitor.h"
#include "op/plans.h"
#include "op/redis.h"
#include "op/returns.h"
#include "op/services.h"
#include "op/shares.h"
#include "op/notifies.h"
#include "op/status.h"
#include "op/stores.h"
#include "op/trace.h"
#include "op/worker.h"
#include "quota/token_keys.h"
#include "quota/times.h"
#include "rpc/calls.h"
#include "rpc/failure.h"
#include "rpc/service.h"
#include "stub/server.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    WORKERS_MAX = 64,
    LISTENS_MAX = 8,
    DESKS = 4,
    MESSAGE_BYTES_MAX = 64 * 1024,
    STREAM_QUEUE_MAX = 1024,
    STREAM_QUEUE_SPARE = 16,           /* so that a slow reader's last frame still fits */
    STREAM_QUEUE_BYTES_MAX = 64 << 20, /* the hub counts frames: more than they ever take */
    COMMIT_ITEMS_MAX = 16384,
    HUB_POLL_MS = 10,
    HUB_PROGRESS_MS = 15000,
    START_PAUSE_MS = 100,   /* between two tries to reach Postgres at the start */
    DRAIN_PAUSE_MS = 5,     /* between two looks at the calls that are left */
    DESCRIPTORS_SPARE = 32, /* for connections to the stores, and two more per worker */
};

#define START_TIMEOUT_S 30

_Static_assert(STOP_LOOK_MS < DRAIN_ANSWERS_MS && STOP_LOOK_MS < DRAIN_LEAVE_MS,
               "whoever waits for a store notices in time that nobody waits any more");

struct settings {
    const char *listen;
    const char *redis;
    const char *postgres;
    const char *token_keys;
    const char *tls_cert;
    const char *tls_key;
    const char *tls_client_ca;
    const char *log_level;
    int64_t workers;
    int64_t worker_timeout_ms;
    int64_t events_keep_hours;
    int64_t limits_per_tenant;
    int64_t start_timeout_s;
    int64_t memory_max_mb;
    const char *trace;
};

static const struct config_option option_table[] = {
    {.name = "listen",
     .type = CONFIG_TEXT,
     .fallback = "127.0.0.1:7070",
     .offset = offsetof(struct settings, listen),
     .letter = 'l',
     .arg = "ADDR[,ADDR...]",
     .doc =
         "where to serve: HOST:PORT, [IPV6]:PORT (without TLS loopback only) or unix:/path (port 0: "
         "any free one)"},
    {.name = "redis",
     .type = CONFIG_TEXT,
     .fallback = "127.0.0.1:6379",
     .offset = offsetof(struct settings, redis),
     .arg = "HOST:PORT|unix:/path",
     .doc = "the Redis that keeps the holds"},
    {.name = "postgres",
     .type = CONFIG_TEXT,
     .fallback = "dbname=holdfast",
     .offset = offsetof(struct settings, postgres),
     .arg = "CONNINFO",
     .doc = "the Postgres that is the root: libpq key=value words or a URI; a password is better "
            "given by the variable, or by PGPASSFILE, than in a command line that all can read"},
    {.name = "token-keys",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, token_keys),
     .arg = "FILE",
     .doc = "keys that sign reservation ids, one kid:64-hex a line (required)"},
    {.name = "tls-cert",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, tls_cert),
     .arg = "FILE",
     .doc = "serve HOST:PORT by TLS with this certificate (PEM, then those between it "
            "and the root); unix sockets stay plaintext; new files are used from the "
            "next connection on, SIGHUP checks them at once"},
    {.name = "tls-key",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, tls_key),
     .arg = "FILE",
     .doc = "its private key (PEM, not encrypted, readable by no others)"},
    {.name = "tls-client-ca",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, tls_client_ca),
     .arg = "FILE",
     .doc = "mTLS: serve only clients with a certificate of these authorities (PEM)"},
    {.name = "log-level",
     .type = CONFIG_TEXT,
     .fallback = "info",
     .offset = offsetof(struct settings, log_level),
     .arg = "LEVEL",
     .doc = "debug, info, warn or error"},
    {.name = "trace",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, trace),
     .arg = "FILE",
     .doc =
         "append every step of leases, holds and jobs to this file, for tests; it grows without bound"},
    {.name = "workers",
     .type = CONFIG_INTEGER,
     .fallback = "1",
     .min = 1,
     .max = WORKERS_MAX,
     .offset = offsetof(struct settings, workers),
     .letter = 'w',
     .arg = "N",
     .doc = "threads that serve calls, each with a Redis connection; 1 is best up to 4 cores"},
    {.name = "worker-timeout-ms",
     .type = CONFIG_INTEGER,
     .fallback = TEXT_OF(REDIS_WORKER_MS),
     .min = 1,
     .max = 10000,
     .offset = offsetof(struct settings, worker_timeout_ms),
     .arg = "MS",
     .doc = "how long Redis may be silent before Postgres takes the hold"},
    {.name = "events-keep-hours",
     .type = CONFIG_INTEGER,
     .fallback = TEXT_OF(EVENTS_KEEP_HOURS),
     .min = 1,
     .max = 24 * 366,
     .offset = offsetof(struct settings, events_keep_hours),
     .arg = "HOURS",
     .doc = "how long threshold events are kept for Watch to resume from"},
    {.name = "limits-per-tenant",
     .type = CONFIG_INTEGER,
     .fallback = "10000",
     .min = 1,
     .max = 1000000,
     .offset = offsetof(struct settings, limits_per_tenant),
     .arg = "N",
     .doc = "how many limits a tenant may have; PutLimit refuses more"},
    {.name = "start-timeout",
     .type = CONFIG_INTEGER,
     .fallback = TEXT_OF(START_TIMEOUT_S),
     .min = 0,
     .max = HOUR_IN_MS / 1000,
     .offset = offsetof(struct settings, start_timeout_s),
     .arg = "SECONDS",
     .doc = "how long to wait for Postgres at the start"},
    {.name = "memory-max-mb",
     .type = CONFIG_INTEGER,
     .fallback = "1024",
     .min = 0,
     .max = 1 << 20,
     .offset = offsetof(struct settings, memory_max_mb),
     .arg = "MB",
     .doc = "cut the connection that sends most when memory grows beyond this; 0: never"},
};

struct server {
    struct settings settings;
    struct estimate estimate;
    struct token_keys *token_keys;
    struct services services;
    struct rpc rpc;
    struct calls *calls;
    struct stub_server *stub;
    struct janitor *janitor;
    struct crier *crier;
    struct granter *granters[GRANTERS];
    struct desks *desks;
    struct worker *workers[WORKERS_MAX];
    pthread_t worker_threads[WORKERS_MAX];
    struct address addresses[LISTENS_MAX];
    char listen_texts[LISTENS_MAX][ADDRESS_TEXT_BYTES];
    const char *listen[LISTENS_MAX];
    size_t listen_count;
};

__attribute__((format(printf, 2, 3), noreturn)) static void die(int code, const char *format, ...)
{
    va_list arguments;

    fputs("holdfastd: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(code);
}

/* --- configuration ---------------------------------------------------------------------------------- */

static void add_listen(struct server *server, struct slice text)
{
    static const struct address_use use = {.usual_port = 7070,
                                           .listen = true,
                                           .tls = "; TLS is asked for by --tls-cert"};
    struct address *address = &server->addresses[server->listen_count];
    char error[ADDRESS_ERROR_BYTES];

    if (server->listen_count == LISTENS_MAX)
        die(EX_USAGE, "--listen names more than %d addresses", LISTENS_MAX);
    if (!address_parse(text, &use, address, error))
        die(EX_USAGE, "--listen \"%.*s\": %s", SLICE_ARGS(text), error);
    for (size_t i = 0; i < server->listen_count; i++)
        if (address_equal(&server->addresses[i], address) &&
            (address->port || address->kind == ADDRESS_UNIX))
            die(EX_USAGE, "--listen names %.*s twice", SLICE_ARGS(text));
    /* Without TLS only this machine may talk to us. A name that begins like loopback may be anyone's. */
    if (!server->settings.tls_cert && !address_is_local(address))
        die(EX_CONFIG,
            "will not listen on %.*s: without TLS only loopback (127.0.0.1:PORT, [::1]:PORT) "
            "and unix:/path are allowed; give --tls-cert, --tls-key and --tls-client-ca "
            "(deploy/certs makes such files to try it)",
            SLICE_ARGS(text));
    server->listen[server->listen_count] =
        address_format(address, server->listen_texts[server->listen_count]);
    server->listen_count++;
}

static void check_listen(struct server *server)
{
    struct slice rest = slice_from_cstr(server->settings.listen), one;

    while (slice_cut(&rest, ',', &one))
        add_listen(server, one);
}

/* What the address has before an '@' may be a password, and is not said again. */
static void check_stores(const struct settings *settings)
{
    static const struct address_use use = {.usual_port = 6379};
    struct address address;
    char error[ADDRESS_ERROR_BYTES];

    if (!address_parse(slice_from_cstr(settings->redis), &use, &address, error))
        die(EX_USAGE, "--redis \"%s\": %s", strchr(settings->redis, '@') ? "..." : settings->redis,
            error);
    if (!database_conninfo_valid(settings->postgres, error, sizeof(error)))
        die(EX_USAGE,
            "--postgres: %s; write words such as \"host=127.0.0.1 port=5432 dbname=holdfast\", or a "
            "URI, postgresql://USER@HOST:PORT/DBNAME",
            error);
    if (settings->postgres != getenv("HOLDFAST_POSTGRES") &&
        database_has_password(settings->postgres))
        log_warn("server", "postgres.password_visible hint=%s",
                 LOG_VALUE("all users of this machine can read a command line; give it by "
                           "HOLDFAST_POSTGRES or PGPASSFILE"));
}

static struct stub_tls_files tls_files(const struct settings *settings)
{
    return (struct stub_tls_files){
        .certificate = settings->tls_cert,
        .key = settings->tls_key,
        .authority = settings->tls_client_ca,
    };
}

/* A certificate without its key would mean plaintext, or nobody checked, to someone who forgot it. */
static void check_tls(const struct settings *settings)
{
    const struct stub_tls_files files = tls_files(settings);
    struct stub_credentials *credentials;
    char error[1024];

    if (!settings->tls_cert != !settings->tls_key)
        die(EX_USAGE, "--tls-cert and --tls-key go together");
    if (settings->tls_client_ca && !settings->tls_cert)
        die(EX_USAGE, "--tls-client-ca needs --tls-cert and --tls-key");
    if (settings->tls_cert && !settings->tls_client_ca)
        log_warn("server", "tls.clients_unknown hint=%s",
                 LOG_VALUE("whoever reaches it may act for every tenant; --tls-client-ca asks "
                           "clients for certificates"));
    if (!settings->tls_cert)
        return;
    credentials = stub_credentials_create(&files, error, sizeof(error));
    if (!credentials) /* said now, not after the wait for Postgres */
        die(EX_CONFIG, "%s", error);
    stub_credentials_destroy(credentials);
}

static void configure(struct server *server, int argc, char **argv)
{
    struct config config = {
        .options = option_table,
        .count = ARRAY_COUNT(option_table),
        .target = &server->settings,
    };
    enum log_level level;
    char error[256];

    config_load(&config, argc, argv, "Serves quotas over gRPC: reserve, commit, release, watch.");
    if (!log_level_from_name(slice_from_cstr(server->settings.log_level), &level))
        die(EX_USAGE, "--log-level is debug, info, warn or error, not \"%s\"",
            server->settings.log_level);
    log_set_level(level);
    if (!fault_load_environment())
        die(EX_USAGE, FAULT_ENVIRONMENT " is malformed; the form is in base/fault.h");
    check_tls(&server->settings);
    check_listen(server);
    check_stores(&server->settings);
    if (!server->settings.token_keys)
        die(EX_USAGE, "--token-keys (or HOLDFAST_TOKEN_KEYS) must name the key file; deploy/up "
                      "makes one under var/");
    if (token_keys_load(server->settings.token_keys, &server->token_keys, error, sizeof(error)) !=
        STATUS_OK)
        die(EX_CONFIG, "%s", error);
}

/* --- building ----------------------------------------------------------------------------------------- */

/* True if the database is there, and waiting will not make it another. */
static bool is_final(enum status status)
{
    return status == STATUS_REFUSED || status == STATUS_FAULT || status == STATUS_CORRUPT;
}

/* Migrates, which also proves that the database is one that may be trusted. */
static void prepare_database(struct server *server)
{
    struct database_options options = {
        .conninfo = server->settings.postgres,
        .connect_timeout_ms = CONNECT_FIRST_MS,
        .statement_timeout_ms = STATEMENT_MIGRATION_MS,
        .clock = clock_real(),
        .estimate = &server->estimate,
    };
    int64_t until_us =
        clock_mono_us(clock_real()) + server->settings.start_timeout_s * INT64_C(1000000);
    struct database *db = database_create(&options);
    char error[512];
    enum status status;
    bool waiting = false;

    while ((status = database_migrate(db, error, sizeof(error))) != STATUS_OK) {
        struct timespec pause = {.tv_sec = 0, .tv_nsec = START_PAUSE_MS * 1000000L};

        if (status == STATUS_FAULT)
            die(EX_UNAVAILABLE,
                "cannot use the database: %s; it must be Holdfast's own or empty, and the user may "
                "create tables in it",
                error);
        if (is_final(status) || clock_mono_us(clock_real()) >= until_us)
            die(EX_UNAVAILABLE, "cannot use the database: %s", error);
        if (!waiting)
            log_warn("server", "postgres.away error=%s waiting_s=%" PRId64, LOG_VALUE(error),
                     server->settings.start_timeout_s);
        if (!waiting) {
            database_destroy(db);
            options.connect_timeout_ms = CONNECT_MS;
            db = database_create(&options);
        }
        waiting = true;
        nanosleep(&pause, NULL);
    }
    if (waiting)
        log_info("server", "postgres.back");
    if (database_ping(db) != STATUS_OK)
        die(EX_UNAVAILABLE, "cannot use the database: %s", database_error(db));
    database_destroy(db);
}

static void hint_hub(void *services, const int64_t *tenants, size_t count)
{
    hub_hint(((struct services *)services)->hub, tenants, count);
}

static void build_services(struct server *server)
{
    struct services *services = &server->services;
    struct hub_options hub = {
        .conninfo = server->settings.postgres,
        .clock = clock_real(),
        .estimate = &server->estimate,
        .poll_ms = HUB_POLL_MS,
        .progress_ms = HUB_PROGRESS_MS,
        .queue_max = STREAM_QUEUE_MAX,
    };
    struct committer_options committer = {
        .conninfo = server->settings.postgres,
        .clock = clock_real(),
        .estimate = &server->estimate,
        .late_window_ms = LATE_WINDOW_MS,
        .items_max = COMMIT_ITEMS_MAX,
        .away_ms = AWAY_MS,
        .lease_ms = LEASE_MIN_MS,
        .done = commit_done,
        .events = hint_hub,
        .user = services,
    };
    char host[64] = "localhost", error[256];

    services->alarms = hub.alarms = committer.alarms = alarms_create(clock_real());
    services->pulse = hub.pulse = committer.pulse =
        pulse_create(server->settings.postgres, clock_real());
    stop_init(&services->stop);
    hub.stop = committer.stop = &services->stop;
    services->options = (struct service_options){
        .redis = server->settings.redis,
        .postgres = server->settings.postgres,
        .ttl_default_ms = TTL_DEFAULT_MS,
        .ttl_max_ms = TTL_HELD_MAX_MS,
        .lifetime_max_ms = LIFETIME_MAX_MS,
        .late_window_ms = committer.late_window_ms,
        .events_keep_ms = server->settings.events_keep_hours * HOUR_IN_MS,
        .limits_max = (size_t)server->settings.limits_per_tenant,
        .lease_min_ms = LEASE_MIN_MS,
        .lease_max_ms = LEASE_MAX_MS,
        .worker_timeout_ms = (int)server->settings.worker_timeout_ms,
        .redis_timeout_ms = REDIS_MS,
    };
    services->stores_table = &stores_real;
    services->clock = clock_real();
    services->entropy = entropy_real();
    services->estimate = &server->estimate;
    services->token_keys = server->token_keys;
    services->started_wall_ms = clock_wall_ms(clock_real());
    gethostname(host, sizeof(host) - 1);
    snprintf(services->server_name, sizeof(services->server_name), "%s:%ld", host, (long)getpid());
    if (server->settings.trace) {
        services->trace = trace_open(server->settings.trace, services->server_name);
        if (!services->trace)
            die(EX_CANTCREAT, "--trace: %s: %s", server->settings.trace, strerror(errno));
    }
    services->plans = plans_create(clock_real(), PLANS_BYTES_MAX);
    services->authority = authority_create();
    services->shares = shares_create();
    services->status_board = status_board_create();
    services->hub = hub_create(&hub);
    services->returns = returns_create();
    services->notifies = notifies_create();
    services->aside = aside_create();
    services->dirty = dirty_create();
    services->degraded = degraded_create();
    services->crossings = crossings_create();
    services->open = open_create();
    services->redis_breaker = redis_breaker_create(&services->options);
    services->inbox = inbox_create();
    for (int i = 0; i < GRANTERS; i++)
        server->granters[i] = granter_create(services, (enum inbox_granter)i);
    services->committer = committer_create(&committer, error, sizeof(error));
    if (!services->committer)
        die(EX_CONFIG, "%s", error);
    server->desks = desks_create(services, DESKS);
    server->janitor = janitor_create(services);
    server->crier = crier_create(services);
}

static void open_ports(struct server *server)
{
    struct stub_server_options options = {
        .listen = server->listen,
        .listen_count = server->listen_count,
        .message_bytes_max = MESSAGE_BYTES_MAX,
        .streams_max = 1000,
        .posted_calls = 64,
        .queue = {.messages_max = STREAM_QUEUE_MAX + STREAM_QUEUE_SPARE,
                  .bytes_max = STREAM_QUEUE_BYTES_MAX},
        .descriptors_spare = DESCRIPTORS_SPARE + 2 * (int)server->settings.workers,
        .memory_bytes_max = server->settings.memory_max_mb << 20,
        .reject = failure_reject,
        .reject_user = &server->rpc,
    };
    const struct stub_tls_files tls = tls_files(&server->settings);
    char error[1024];

    if (tls.certificate)
        options.tls = &tls;
    if (!rpc_init(&server->rpc, &server->services))
        die(EX_OSERR, "no thread-specific key left");
    server->stub = stub_server_create(&options, error, sizeof(error));
    if (!server->stub)
        die(EX_UNAVAILABLE, "%s", error);
    server->calls = calls_create();
    calls_intercept(server->calls, server->stub);
    if (!rpc_register(&server->rpc, server->stub) || !stub_health_register(server->stub) ||
        !stub_reflection_register(server->stub))
        die(EX_SOFTWARE, "a service was registered twice");
}

static void *serve(void *worker)
{
    worker_run(worker);
    return NULL;
}

static void start_serving(struct server *server)
{
    for (int64_t i = 0; i < server->settings.workers; i++)
        server->workers[i] = worker_create(&server->services, server->stub);
    if (!stub_server_start(server->stub))
        die(EX_SOFTWARE, "the server could not be started");
    for (int64_t i = 0; i < server->settings.workers; i++)
        thread_start_batch(&server->worker_threads[i], "worker", serve, server->workers[i]);
    stub_health_set(server->stub, "", true);
    stub_health_set(server->stub, "holdfast.v1.QuotaService", true);
    stub_health_set(server->stub, "holdfast.v1.AdminService", true);
    for (size_t i = 0; i < server->listen_count; i++) {
        struct address *address = &server->addresses[i];
        char text[ADDRESS_TEXT_BYTES];

        if (address->kind != ADDRESS_UNIX)
            address->port = (uint16_t)stub_server_port(server->stub, i);
        fprintf(stderr, "holdfastd listening on %s\n", address_format(address, text));
    }
}

/* SIGHUP. What was loaded or refused is in the log, by the stub layer. */
static void reload(struct server *server)
{
    if (!server->settings.tls_cert)
        log_info("server", "reload tls=none");
    else
        log_info("server", "reload tls=%s",
                 stub_server_tls_reload(server->stub) ? "current" : "refused");
}

/* --- stopping ------------------------------------------------------------------------------------------- */

static bool wait_for_calls(struct server *server, int ms)
{
    int64_t until_us = clock_mono_us(clock_real()) + ms * INT64_C(1000);

    while (stub_server_calls(server->stub) > 0) {
        struct timespec pause = {.tv_sec = 0, .tv_nsec = DRAIN_PAUSE_MS * 1000000L};

        if (clock_mono_us(clock_real()) > until_us)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/*
 * Nothing that is acknowledged is only in memory, so the process may end at any moment. A thread that
 * is held by something that nobody thought of does not keep it alive.
 */
static void *end_in_time(void *user)
{
    struct timespec left = {.tv_sec = DRAIN_END_MS / 1000,
                            .tv_nsec = DRAIN_END_MS % 1000 * 1000000L};

    (void)user;
    nanosleep(&left, NULL);
    log_error("server", "drain.ended after_ms=%d", DRAIN_END_MS);
    _exit(EX_SOFTWARE);
}

static void drain(struct server *server)
{
    pthread_t timer;

    thread_start(&timer, "end-timer", end_in_time, NULL);
    pthread_detach(timer);
    log_info("server", "draining calls=%ld", stub_server_calls(server->stub));
    stub_health_shutdown(server->stub);
    server->services.draining = true;
    hub_drain(server->services.hub);
    stub_server_drain(server->stub);
    if (!wait_for_calls(server, DRAIN_MS)) {
        log_warn("server", "drain.cut calls=%ld", stub_server_calls(server->stub));
        stop_set(&server->services.stop, clock_mono_us(clock_real()));
        if (!wait_for_calls(server, DRAIN_ANSWERS_MS)) {
            log_warn("server", "drain.cancelled calls=%ld", stub_server_calls(server->stub));
            stub_server_cancel_all(server->stub);
        }
    }
    stop_set(&server->services.stop, clock_mono_us(clock_real()) + DRAIN_LEAVE_MS * INT64_C(1000));
}

static void destroy(struct server *server)
{
    struct services *services = &server->services;

    janitor_destroy(server->janitor);
    crier_destroy(server->crier);
    stub_server_stop(server->stub);
    for (int64_t i = 0; i < server->settings.workers; i++)
        pthread_join(server->worker_threads[i], NULL);
    desks_destroy(server->desks);
    for (int i = 0; i < GRANTERS; i++) /* the quick one first: it may give to the other */
        granter_stop(server->granters[i]);
    committer_destroy(services->committer);
    for (int i = 0; i < GRANTERS; i++)
        granter_destroy(server->granters[i]);
    inbox_destroy(services->inbox);
    aside_destroy(services->aside);
    hub_destroy(services->hub);
    for (int64_t i = 0; i < server->settings.workers; i++)
        worker_destroy(server->workers[i]);
    notifies_destroy(services->notifies);
    returns_destroy(services->returns);
    dirty_destroy(services->dirty);
    degraded_destroy(services->degraded);
    crossings_destroy(services->crossings);
    open_destroy(services->open);
    breaker_destroy(services->redis_breaker);
    stub_server_destroy(server->stub);
    calls_log(server->calls);
    calls_destroy(server->calls);
    rpc_done(&server->rpc);
    plans_destroy(services->plans);
    authority_destroy(services->authority);
    shares_destroy(services->shares);
    status_board_destroy(services->status_board);
    pulse_destroy(services->pulse);
    alarms_destroy(services->alarms);
    token_keys_destroy(server->token_keys);
    estimate_done(&server->estimate);
}

/* As many clients as the machine allows; the soft limit is there for programs that use select. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static struct server server;
    sigset_t signals;
    int signal_number;

    standard_open();
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    argp_program_version = "holdfastd " HOLDFAST_VERSION;
    configure(&server, argc, argv);
    estimate_init(&server.estimate);
    /* There is nothing to drain yet, and a wait that can be long: who wants it to end need not wait. */
    sigdelset(&signals, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    prepare_database(&server);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    open_ports(&server);
    build_services(&server);
    start_serving(&server);
    log_info("server", "serving workers=%" PRId64, server.settings.workers);
    while (sigwait(&signals, &signal_number) != 0 || signal_number == SIGHUP)
        reload(&server);
    signal(SIGTERM, SIG_DFL); /* a second one of these ends the process at once */
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP,
           SIG_IGN); /* there is nothing to reload any more, and its usual meaning is the end */
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    drain(&server);
    destroy(&server);
    log_info("server", "stopped");
    return 0;
}
