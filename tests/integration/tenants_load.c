/*
 * How far one tenant stands in the others' way, and how fast holds expire:
 *
 *     tests/support/with_stores --build build build/tests/integration/tenants_load first [TENANTS]
 *     ... tenants_load expire [HOLDS [TENANTS]]
 *     ... tenants_load excess [SECONDS]
 *     ... tenants_load beside WHAT [SECONDS]
 *
 *     first     tenants that are touched for the first time, one Reserve each: how many a second; and
 *               again a minute later, when their leases have ended, if AGAIN=1 is in the environment
 *     expire    holds of some tenants that end at one moment: when the last of them is gone
 *     excess    commits of more than was held, by a tenant that is full: how many a second
 *     beside    the 99th percentile of other tenants' first Reserve, Extend, GetUsage, Commit and reap,
 *               without and with a tenant that is in the way, and their ratio. WHAT it does:
 *                 busy         as below, and nothing is locked: what its load alone does to the machine
 *                 locked tenant-locked limit-locked lease-locked   somebody keeps a row of it locked
 *                 exhausted    it has nothing left, and commits more than it held
 *                 expiring     100,000 of its holds expire
 *                 extends      64 callers extend its holds, each time further
 *                 usages       64 callers read its usage
 *                 meters       it has an unlimited limit made for each Reserve
 *                 limits       it has 10,000 limits, and one changes every 50 ms
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/histogram.h"
#include "base/slice.h"
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };
enum { CALLERS = 128, PROBES = 4, HAMMERS = 8, HAMMERS_MAX = 64, PAUSE_US = 4000, CALL_MS = 5000 };
enum { WARM_S = 5 };
enum { PROBE_RESERVE, PROBE_EXTEND, PROBE_USAGE, PROBE_COMMIT, PROBE_REAP, PROBE_KINDS };

static const char *const kind_names[] = {"first Reserve", "Extend", "GetUsage", "Commit", "reap"};
static const char victim[] = "victim";

/* As plan_shard of quota/plan.h, whose plan_limit is another than caller.h's. */
static int shard_of(const char *tenant)
{
    return (int)(hash_slice(slice_from_cstr(tenant)) % 256);
}

static struct fixture_server server;
static struct stub_channel *channel;

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

static void run_sql(PGconn *conn, const char *head, const char *text, const char *tail)
{
    size_t len = strlen(head) + strlen(text) + strlen(tail) + 1;
    char *all_text = malloc(len);
    PGresult *result;

    CHECK(all_text);
    snprintf(all_text, len, "%s%s%s", head, text, tail);
    result = PQexec(conn, all_text);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fprintf(stderr, "%s\n", PQerrorMessage(conn));
    PQclear(result);
    free(all_text);
}

/* count tenants NAME-0, NAME-1 ..., each with one limit, straight into the database. */
static void make_tenants(const char *name, int count)
{
    enum { PART = 500 };
    static char text[PART * 80];
    PGconn *conn = PQconnectdb(fixture_env("HOLDFAST_TEST_POSTGRES"));

    for (int first = 0; first < count; first += PART) {
        size_t len = 0;

        for (int i = first; i < count && i < first + PART; i++) {
            char tenant[64];

            snprintf(tenant, sizeof(tenant), "%s-%d", name, i);
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s('%s', %d)",
                                    len ? "," : "", tenant, shard_of(tenant));
        }
        run_sql(conn, "WITH v(n, s) AS (VALUES ", text,
                "), t AS (INSERT INTO tenant (name, shard, config_position)"
                " SELECT n, s, config_position_next() FROM v RETURNING tenant_id)"
                " INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
                " soft_percent, overage_kind, overage, cap, soft) SELECT tenant_id, 'main', '',"
                " 'calls', 1, false, 1000000, 90, 1, 0, 1000000, 900000 FROM t");
    }
    PQfinish(conn);
}

static struct ask ask_of(const char *tenant, const char *job, int64_t ttl_ms)
{
    return (struct ask){.tenant = tenant,
                        .job = job,
                        .meters_count = 1,
                        .meters = {"calls"},
                        .units = {1},
                        .ttl_ms = ttl_ms,
                        .timeout_ms = CALL_MS};
}

/* --- first -------------------------------------------------------------------------------------- */

static atomic_int next, failed;
static int all;

static void touch(void *user, int index)
{
    const char *job = user;

    (void)index;
    for (int i = atomic_fetch_add(&next, 1); i < all; i = atomic_fetch_add(&next, 1)) {
        char tenant[64];
        struct answer answer;
        struct ask ask = ask_of(tenant, job, 1000);

        snprintf(tenant, sizeof(tenant), "first-%d", i);
        call_reserve(channel, &ask, &answer);
        if (!admitted(&answer) && atomic_fetch_add(&failed, 1) == 0)
            fprintf(stderr, "%s: %d %s %s\n", tenant, answer.code, answer.reason, answer.text);
    }
}

static int64_t touch_all(const char *what, const char *job)
{
    int64_t began_us = now_us(), took_us;

    atomic_store(&next, 0);
    crowd(CALLERS, touch, (void *)(uintptr_t)job);
    took_us = now_us() - began_us;
    printf("%s: %d tenants in %.2f s, %.0f a second, %d failed\n", what, all,
           (double)took_us / 1e6, all * 1e6 / (double)took_us, failed);
    return began_us + took_us;
}

static int run_first(int tenants)
{
    const char *again = getenv("AGAIN");
    int64_t end;

    make_tenants("first", tenants);
    all = tenants;
    end = touch_all("first", "job");
    if (again && strcmp(again, "1") == 0) {
        while (now_us() < end + 62000000) /* a lease lasts a minute, and its hold a second */
            usleep(100000);
        (void)touch_all("again", "job-2");
    }
    return failed == 0 ? 0 : 1;
}

/* --- expire ------------------------------------------------------------------------------------- */

static int64_t end_us;
static int expire_tenants;

static void hold(void *user, int index)
{
    const char *name = user;

    (void)index;
    for (int i = atomic_fetch_add(&next, 1); i < all; i = atomic_fetch_add(&next, 1)) {
        char tenant[64], job[32];
        int64_t left_ms = (end_us - now_us()) / 1000;
        struct answer answer;
        struct ask ask = ask_of(tenant, job, left_ms > 1000 ? left_ms : 1000);

        if (expire_tenants > 1)
            snprintf(tenant, sizeof(tenant), "%s-%d", name, i % expire_tenants);
        else
            snprintf(tenant, sizeof(tenant), "%s", name);
        snprintf(job, sizeof(job), "hold-%d", i);
        call_reserve(channel, &ask, &answer);
        if (!admitted(&answer) && atomic_fetch_add(&failed, 1) == 0)
            fprintf(stderr, "%s: %d %s %s\n", tenant, answer.code, answer.reason, answer.text);
    }
}

/* Holds of these tenants that all end at end_us, which is as far ahead as it takes to make them. */
static void make_holds(const char *name, int holds, int tenants)
{
    atomic_store(&next, 0);
    all = holds;
    expire_tenants = tenants;
    end_us = now_us() + 6000000 + holds * INT64_C(150);
    crowd(64, hold, (void *)(uintptr_t)name);
    if (now_us() > end_us)
        fprintf(stderr, "the holds took longer to make than they lasted\n");
}

static void wait_until_us(int64_t at_us)
{
    while (now_us() < at_us)
        usleep(1000);
}

static int run_expire(int holds, int tenants)
{
    int64_t gone, tries = 0;
    char one[32] = "expire";

    make_tenants("expire", tenants > 1 ? tenants : 2);
    if (tenants == 1)
        snprintf(one, sizeof(one), "expire-0");
    make_holds(one, holds, tenants);
    wait_until_us(end_us);
    do {
        gone = fixture_sql("SELECT count(*) FROM expired_hold");
        if (gone < holds - failed)
            usleep(50000);
    } while (gone < holds - failed && ++tries < 2000);
    printf("expire: %d holds of %d tenants: the last gone %.2f s after the end; from first to last"
           " %.2f s\n", holds, tenants,
           (double)fixture_sql("SELECT (extract(epoch FROM max(at)) * 1000 - max(deadline_ms))::bigint"
                               " FROM expired_hold") / 1e3,
           (double)fixture_sql("SELECT (extract(epoch FROM max(at) - min(at)) * 1000)::bigint"
                               " FROM expired_hold WHERE deadline_ms > (SELECT max(deadline_ms) - 200"
                               " FROM expired_hold)") / 1e3);
    return failed == 0 ? 0 : 1;
}

/* --- beside ------------------------------------------------------------------------------------- */

struct probe {
    struct histogram kinds[PROBE_KINDS];
    int64_t errors;
    char error[160];
};

static struct probe probes[PROBES];
static atomic_bool hammering;
static int64_t until_us;
static char phase;

static void note(struct probe *probe, int kind, int64_t began_us, const struct answer *answer)
{
    histogram_add(&probe->kinds[kind], now_us() - began_us);
    if (answer->code != STUB_OK && probe->errors++ == 0)
        snprintf(probe->error, sizeof(probe->error), "%s: %d %.100s", kind_names[kind],
                 answer->code, answer->text);
}

static void usage(const char *tenant, struct answer *answer)
{
    Holdfast__V1__GetUsageRequest request = HOLDFAST__V1__GET_USAGE_REQUEST__INIT;
    Holdfast__V1__GetUsageResponse *reply = NULL;
    struct stub_call_options options = {.timeout_us = CALL_MS * 1000};
    char name[64];

    snprintf(name, sizeof(name), "%s", tenant);
    request.tenant = name;
    memset(answer, 0, sizeof(*answer));
    answer->code = (int)holdfast_v1_quota_service_get_usage(channel, &options, &request, &reply, NULL);
    if (reply)
        protobuf_c_message_free_unpacked(&reply->base, NULL);
}

static void probe_on(void *user, int index)
{
    struct probe *probe = &probes[index];

    (void)user;
    for (int i = 0; now_us() < until_us; i++) {
        char tenant[64];
        struct ask job = ask_of(tenant, "job", 60000), brief = ask_of(tenant, "brief", 1000);
        struct answer answer;
        int64_t began_us;

        snprintf(tenant, sizeof(tenant), "%c-%d", phase, atomic_fetch_add(&next, 1));
        began_us = now_us();
        call_reserve(channel, &job, &answer);
        note(probe, PROBE_RESERVE, began_us, &answer);
        call_reserve(channel, &brief, &answer);
        began_us = now_us();
        call_extend(channel, &job, &answer);
        note(probe, PROBE_EXTEND, began_us, &answer);
        began_us = now_us();
        usage(tenant, &answer);
        note(probe, PROBE_USAGE, began_us, &answer);
        job.meters_count = 0;
        began_us = now_us();
        call_commit(channel, &job, &answer);
        note(probe, PROBE_COMMIT, began_us, &answer);
        usleep(PAUSE_US);
    }
}

/* The percentiles of one phase in us. */
static void run_phase(char name, int seconds, int64_t p99[PROBE_KINDS])
{
    struct histogram sum;

    memset(probes, 0, sizeof(probes));
    atomic_store(&next, 0);
    phase = name;
    until_us = now_us() + seconds * INT64_C(1000000);
    crowd(PROBES, probe_on, NULL);
    for (int kind = 0; kind < PROBE_REAP; kind++) {
        memset(&sum, 0, sizeof(sum));
        for (int i = 0; i < PROBES; i++)
            histogram_merge(&sum, &probes[i].kinds[kind]);
        p99[kind] = histogram_percentile(&sum, 99);
    }
    for (int i = 0; i < PROBES; i++)
        if (probes[i].errors > 0)
            fprintf(stderr, "%" PRId64 " errors, the first: %s\n", probes[i].errors,
                    probes[i].error);
    usleep(2500000);
    p99[PROBE_REAP] = 1000 * fixture_sql(
        "SELECT coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM e.at) * 1000"
        " - e.deadline_ms), 0)::bigint FROM expired_hold e JOIN tenant t USING (tenant_id)"
        " WHERE t.name LIKE '%c-%%'", name);
}

/* --- the tenant that is in the way ---------------------------------------------------------------- */

static atomic_int hammered, excesses;

/* Holds of one unit each, of which the tenant has no more. */
enum { FULL = 60000 };

static void fill_up(void *user, int index)
{
    (void)user;
    (void)index;
    for (int i = atomic_fetch_add(&next, 1); i < FULL; i = atomic_fetch_add(&next, 1)) {
        char job[32] = "";
        struct ask ask = ask_of(victim, job, 600000);
        struct answer answer;

        snprintf(job, sizeof(job), "full-%d", i);
        call_reserve(channel, &ask, &answer);
    }
}

/* More than was held: the rest is asked of the root, which has nothing. */
static void exceed(void)
{
    int i = atomic_fetch_add(&excesses, 1);
    char job[32] = "";
    struct ask ask = ask_of(victim, job, 0);
    struct answer answer;

    if (i >= FULL) {
        usleep(10000);
        return;
    }
    snprintf(job, sizeof(job), "full-%d", i);
    ask.units[0] = 2;
    call_commit(channel, &ask, &answer);
    if (answer.code == STUB_OK)
        atomic_fetch_add(&hammered, 1);
}

static void hammer_once(const char *what, int index, int i)
{
    char job[48] = "", meter[48];
    struct ask ask = ask_of(victim, job, 60000);
    struct answer answer;

    ask.timeout_ms = 1000;
    snprintf(job, sizeof(job), "%c-%d-%d", phase, index, i);
    if (strcmp(what, "exhausted") == 0) {
        exceed();
        return;
    }
    if (strcmp(what, "usages") == 0) {
        usage(victim, &answer);
        return;
    }
    if (strcmp(what, "extends") == 0) {
        snprintf(job, sizeof(job), "%c-%d", phase, index);
        ask.ttl_ms = 60000 + i * INT64_C(100);
        call_extend(channel, &ask, &answer);
        if (answer.code != STUB_OK)
            call_reserve(channel, &ask, &answer);
        return;
    }
    if (strcmp(what, "meters") == 0) {
        snprintf(meter, sizeof(meter), "%c-%d-%d", phase, index, i);
        ask.meters[0] = meter;
    }
    if (strcmp(what, "limits") == 0 && index == 0) {
        (void)put_limit(channel, victim, "main", "", "calls", NEVER, 1000000 + i);
        usleep(50000);
        return;
    }
    call_reserve(channel, &ask, &answer);
    if (!admitted(&answer))
        return;
    if (strstr(what, "locked") || strcmp(what, "busy") == 0)
        call_extend(channel, &ask, &answer);
    call_commit(channel, &ask, &answer);
}

static void hammer(void *user, int index)
{
    for (int i = 0; atomic_load(&hammering); i++)
        hammer_once(user, index, i);
}

struct hammers {
    int count;
    pthread_t threads[HAMMERS_MAX];
    struct hammer_one {
        char *what;
        int index;
    } ones[HAMMERS_MAX];
};

static void *hammer_thread(void *user)
{
    struct hammer_one *one = user;

    hammer(one->what, one->index);
    return NULL;
}

static void start_hammers(struct hammers *hammers, char *what, int count)
{
    hammers->count = count;
    atomic_store(&hammered, 0);
    atomic_store(&hammering, true);
    for (int i = 0; i < count; i++) {
        hammers->ones[i] = (struct hammer_one){what, i};
        pthread_create(&hammers->threads[i], NULL, hammer_thread, &hammers->ones[i]);
    }
}

static void stop_hammers(struct hammers *hammers)
{
    atomic_store(&hammering, false);
    for (int i = 0; i < hammers->count; i++)
        pthread_join(hammers->threads[i], NULL);
}

/* A transaction that keeps a row of the victim's for as long as the connection lives. */
static PGconn *lock_victim(const char *what)
{
    PGconn *conn = PQconnectdb(fixture_env("HOLDFAST_TEST_POSTGRES"));
    const char *table = strcmp(what, "tenant-locked") == 0  ? "tenant"
                        : strcmp(what, "limit-locked") == 0 ? "limit_"
                        : strcmp(what, "lease-locked") == 0 ? "old_lease"
                                                            : "quota";

    /* One that is over, so that it is closed with the next grant. */
    run_sql(conn, "INSERT INTO old_lease SELECT tenant_id, limit_id, period_start_ms, 1, 0, 0, 0, 1"
                  " FROM quota JOIN tenant USING (tenant_id) WHERE name = 'victim'", "", "");
    PQclear(PQexec(conn, "BEGIN"));
    run_sql(conn, "DO 'BEGIN PERFORM 1 FROM ", table,
            " WHERE tenant_id = (SELECT tenant_id FROM tenant WHERE name = ''victim'') FOR UPDATE;"
            " END'");
    return conn;
}

static void prepare_victim(const char *what)
{
    struct ask ask = ask_of(victim, "first", 600000);
    PGconn *conn = PQconnectdb(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct answer answer;

    plan_tenant(channel, victim);
    plan_limit(channel, victim, "main", "", "calls", NEVER,
               strcmp(what, "exhausted") ? 1000000 : FULL);
    if (strcmp(what, "meters") == 0)
        run_sql(conn, "UPDATE tenant SET admit_unlimited_meters = true WHERE name = '", victim, "'");
    if (strcmp(what, "limits") == 0)
        run_sql(conn, "INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited,"
                      " amount, soft_percent, overage_kind, overage, cap, soft) SELECT tenant_id,"
                      " 'l-' || i, 's-' || i, 'calls', 1, false, 1000000, 90, 1, 0, 1000000, 900000"
                      " FROM tenant, generate_series(1, 9999) i WHERE tenant.name = '",
                victim, "'");
    PQfinish(conn);
    if (strcmp(what, "exhausted") == 0) {
        atomic_store(&next, 0);
        crowd(HAMMERS_MAX, fill_up, NULL);
    } else {
        call_reserve(channel, &ask, &answer);
    }
}

static int run_excess(int seconds)
{
    char what[] = "exhausted";
    struct hammers hammers;
    int64_t began_us, took_us;

    prepare_victim(what);
    phase = 'e';
    began_us = now_us();
    start_hammers(&hammers, what, HAMMERS_MAX);
    for (int64_t until = began_us + seconds * INT64_C(1000000); now_us() < until && excesses < FULL;)
        usleep(1000);
    took_us = now_us() - began_us;
    printf("excess: %.0f commits a second\n", (double)hammered * 1e6 / (double)took_us);
    stop_hammers(&hammers);
    return 0;
}

static int run_beside(char *what, int seconds)
{
    bool expiring = strcmp(what, "expiring") == 0;
    bool many = strcmp(what, "extends") == 0 || strcmp(what, "usages") == 0;
    int64_t quiet[PROBE_KINDS], loaded[PROBE_KINDS];
    struct hammers hammers;
    PGconn *conn = NULL;

    prepare_victim(what);
    make_tenants("q", seconds * 2000);
    make_tenants("l", seconds * 2000);
    make_tenants("w", WARM_S * 2000);
    run_phase('w', WARM_S, quiet); /* every shard is begun before anything is measured */
    run_phase('q', seconds, quiet);
    if (strstr(what, "locked"))
        conn = lock_victim(what);
    if (expiring) {
        make_holds(victim, 100000, 1);
        wait_until_us(end_us - 200000);
    } else {
        start_hammers(&hammers, what, many ? HAMMERS_MAX : HAMMERS);
    }
    run_phase('l', seconds, loaded);
    if (!expiring)
        stop_hammers(&hammers);
    if (conn)
        PQfinish(conn);
    for (int kind = 0; kind < PROBE_KINDS; kind++)
        printf("beside %s: %-14s p99 quiet %8.1f ms, loaded %8.1f ms, ratio %.1f\n", what,
               kind_names[kind], (double)quiet[kind] / 1e3, (double)loaded[kind] / 1e3,
               quiet[kind] ? (double)loaded[kind] / (double)quiet[kind] : 0);
    return 0;
}

static int number(char **argv, int argc, int at, int otherwise)
{
    return argc > at ? atoi(argv[at]) : otherwise;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int code = 2;

    setvbuf(stdout, NULL, _IOLBF, 0);
    fixture_server_start(&server, NULL);
    channel = fixture_channel(server.listen, NULL);
    if (strcmp(mode, "first") == 0)
        code = run_first(number(argv, argc, 2, 20000));
    else if (strcmp(mode, "expire") == 0)
        code = run_expire(number(argv, argc, 2, 100000), number(argv, argc, 3, 1));
    else if (strcmp(mode, "excess") == 0)
        code = run_excess(number(argv, argc, 2, 10));
    else if (strcmp(mode, "beside") == 0 && argc > 2)
        code = run_beside(argv[2], number(argv, argc, 3, 10));
    else
        fprintf(stderr, "tenants_load first|expire|beside ...: see the head of its source\n");
    stub_channel_destroy(channel);
    fixture_server_stop(&server);
    return code;
}
