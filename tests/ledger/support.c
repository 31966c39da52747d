#include "tests/ledger/support.h"

#include "base/clock.h"
#include "quota/lease.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

struct database *support_connect(const char *conninfo)
{
    const struct database_options options = {
        .conninfo = conninfo,
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = 5000,
        .clock = clock_real(),
    };

    return database_create(&options);
}

struct database *support_open(void)
{
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    char error[256] = "";

    cr_assert(database_migrate(db, error, sizeof(error)) == STATUS_OK, "%s", error);
    return db;
}

struct support_tenant support_tenant_make(const char *name, int64_t amount, int64_t cap,
                                          int64_t leased)
{
    struct support_tenant tenant;
    int shard = plan_shard(slice_from_cstr(name));

    snprintf(tenant.name, sizeof(tenant.name), "%s", name);
    fixture_sql_do("INSERT INTO shard_authority (shard, epoch, state, replid, nonce) VALUES"
                   " (%d, 1, 'A', 'r', 'n') ON CONFLICT DO NOTHING",
                   shard);
    tenant.epoch = fixture_sql("SELECT epoch FROM shard_authority WHERE shard = %d", shard);
    tenant.tenant_id =
        fixture_sql("INSERT INTO tenant (name, shard, config_position) VALUES ('%s', %d,"
                    " config_position_next()) RETURNING tenant_id",
                    name, shard);
    tenant.limit_id = fixture_sql(
        "INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
        " soft_percent, overage_kind, overage, cap, soft) VALUES (%" PRId64 ", 'main', '',"
        " 'tokens', 1, false, %" PRId64 ", 90, 1, %" PRId64 ", %" PRId64 ", %" PRId64
        ") RETURNING limit_id",
        tenant.tenant_id, amount, cap - amount, cap, (amount * 90 + 99) / 100);
    tenant.lease_id = tenant.epoch * LEASE_IDS_PER_EPOCH;
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, leased, lease_id, granted,"
                   " lease_deadline_ms) SELECT tenant_id, limit_id, 0, 9223372036854775807, amount,"
                   " cap, soft, false, %" PRId64 ", %" PRId64 ", %" PRId64
                   ", (extract(epoch from clock_timestamp()) * 1000)::bigint + 600000 FROM limit_"
                   " WHERE tenant_id = %" PRId64,
                   leased, tenant.lease_id, leased, tenant.tenant_id);
    return tenant;
}

struct hold *support_hold(struct arena *arena, const struct support_tenant *tenant, int64_t seq,
                          int64_t units, int64_t deadline_ms)
{
    struct hold *hold = arena_zalloc(arena, sizeof(*hold));

    cr_assert(hold != NULL);
    hold->attempt = (struct attempt){.epoch = tenant->epoch, .seq = seq};
    hold->deadline_ms = deadline_ms;
    hold->created_ms = deadline_ms - 60000;
    hold->scope = SLICE("team");
    hold->mode = 1;
    hold->meters_count = hold->quotas_count = 1;
    hold->meters = arena_array(arena, 1, sizeof(*hold->meters));
    hold->quotas = arena_array(arena, 1, sizeof(*hold->quotas));
    cr_assert(hold->meters && hold->quotas);
    hold->meters[0] = (struct hold_meter){SLICE("tokens"), units};
    hold->quotas[0] = (struct hold_quota){
        .meter = 0,
        .quota = {.limit_id = tenant->limit_id, .period_start_ms = 0},
        .lease_id = tenant->lease_id,
        .units = units,
    };
    return hold;
}

int64_t support_now_ms(void)
{
    return fixture_sql("SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint");
}

void support_terminate_backends(const char *like_query)
{
    fixture_sql_do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                   " pg_backend_pid() AND application_name = 'holdfast' AND query LIKE '%s'",
                   like_query);
}

int support_ledger_part(const struct support_tenant *tenant)
{
    return (int)fixture_sql("SELECT p + 1 FROM generate_series(0, 15) p WHERE"
                            " satisfies_hash_partition('ledger'::regclass, 16, p, %" PRId64
                            "::bigint)",
                            tenant->tenant_id);
}

struct plan *support_plan(const struct support_tenant *tenant)
{
    struct limit limit = {
        .limit_id = tenant->limit_id,
        .name = SLICE("main"),
        .meter = SLICE("tokens"),
        .period = PERIOD_NEVER,
        .amount = 1000,
        .cap = 1000,
        .soft = 900,
        .soft_percent = 90,
    };
    struct plan plan = {
        .tenant_id = tenant->tenant_id,
        .tenant = slice_from_cstr(tenant->name),
        .shard = plan_shard(slice_from_cstr(tenant->name)),
        .ledger_part = support_ledger_part(tenant),
        .config_version = 1,
        .limits_count = 1,
        .limits = &limit,
    };

    return plan_create(&plan);
}

void support_check_quotas(const struct support_tenant *tenant)
{
    int64_t wrong = fixture_sql(
        "SELECT count(*) FROM quota q WHERE tenant_id = %" PRId64 " AND (leased <> granted - returned"
        " - spent + coalesce((SELECT sum(granted - returned - spent) FROM old_lease o"
        " WHERE o.tenant_id = q.tenant_id AND o.limit_id = q.limit_id AND o.period_start_ms ="
        " q.period_start_ms), 0) OR committed <> coalesce((SELECT sum(l.counted[i * 5 + 4]) FROM"
        " ledger l, generate_series(0, cardinality(l.counted) / 5 - 1) i WHERE l.tenant_id ="
        " q.tenant_id AND l.counted[i * 5 + 1] = q.limit_id AND l.counted[i * 5 + 2] ="
        " q.period_start_ms), 0))",
        tenant->tenant_id);

    cr_assert(wrong == 0, "%" PRId64 " quota rows do not add up", wrong);
}

int64_t support_of_quota(const struct support_tenant *tenant, const char *column)
{
    return fixture_sql("SELECT %s::bigint FROM quota WHERE tenant_id = %" PRId64
                       " ORDER BY period_start_ms DESC LIMIT 1",
                       column, tenant->tenant_id);
}

int64_t support_ledger_rows(const struct support_tenant *tenant)
{
    return fixture_sql("SELECT count(*) FROM ledger WHERE tenant_id = %" PRId64, tenant->tenant_id);
}

int64_t support_check_events(const struct support_tenant *tenant)
{
    int64_t count = fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64,
                                tenant->tenant_id);

    cr_assert_eq(fixture_sql("SELECT coalesce(max(seq), 0) FROM event WHERE tenant_id = %" PRId64,
                             tenant->tenant_id),
                 count);
    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant->tenant_id),
                 count);
    return count;
}
