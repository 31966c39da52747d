#include "tests/sim/world.h"

#include "base/check.h"
#include "ledger/ledger.h"
#include "quota/times.h"
#include "tests/sim/fibre.h"
#include "tests/sim/server.h"
#include "tests/sim/stores.h"
#include "tests/sim/transport.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROUP_WORLD = 1000000,
    CLIENTS = 6,
    LATENCY_US = 400,
    OPEN_UNITS = 25,    /* per server, quota and absence */
    LAG_MAX_US = 40000, /* less than MARGIN_MS of truth.c */
    EPOCH_FIRST = 60,
    FAILOVER_EVERY = 8,
    FAILOVER_SEED = 5,
};

/*
 * What a standby has not heard of can be told only by a Redis that has, and whether it is told depends on
 * neither store being away; what an administrator did and is gone is not in any promise.
 */
enum {
    BESIDE_FAILOVER = 1u << THEME_LATE | 1u << THEME_RACE | 1u << THEME_NEVER | 1u << THEME_PERIOD |
                      1u << THEME_TIGHT | 1u << THEME_KILL | 1u << THEME_BULK | 1u << THEME_QUIET,
};

const char *const theme_names[THEMES] = {
#define X(name, text) [THEME_##name] = #name,
    THEME_MAP(X)
#undef X
};

static int64_t database_ms(void *user)
{
    (void)user;
    return sim_ms_at(fibre_now_us());
}

/* --- telling ------------------------------------------------------------------------------------ */

void world_trace(struct world *world, const char *format, ...)
{
    char *line = world->trace[world->trace_count++ % TRACE_LINES];
    va_list arguments;
    int at = snprintf(line, TRACE_CHARS, "%10.3f ", (double)fibre_now_us() / 1e6);

    va_start(arguments, format);
    vsnprintf(line + at, TRACE_CHARS - (size_t)at, format, arguments);
    va_end(arguments);
    if (world->tracing)
        fprintf(stderr, "%s\n", line);
}

void world_print_trace(const struct world *world, FILE *to, int lines)
{
    int64_t from = world->trace_count - lines;

    if (from < 0)
        from = 0;
    if (from < world->trace_count - TRACE_LINES)
        from = world->trace_count - TRACE_LINES;
    for (int64_t i = from; i < world->trace_count; i++)
        fprintf(to, "%s\n", world->trace[i % TRACE_LINES]);
}

void world_note_trouble(struct world *world, struct truth_tenant *tenant, bool lost)
{
    world->truth.trouble_us = fibre_now_us();
    for (int i = 0; i < WORLD_TENANTS; i++)
        if (lost && (!tenant || tenant == &world->tenants[i]))
            world->tenants[i].lost_us = fibre_now_us();
    if (lost)
        world->truth.redis_lost = true;
}

/* --- building ----------------------------------------------------------------------------------- */

static void pick_themes(struct world *world)
{
    int count = 1 + (int)dice_below(&world->dice, 4);

    while (count-- > 0)
        world->themes |= 1u << dice_below(&world->dice, THEMES_PICKED);
    if (world->seed % FAILOVER_EVERY == FAILOVER_SEED)
        world->themes = (world->themes & BESIDE_FAILOVER) | 1u << THEME_FAILOVER;
}

struct world *world_create(uint64_t seed, uint32_t themes, uint32_t without, int64_t minutes)
{
    struct world *world = calloc(1, sizeof(*world));
    const char *replid = "1111111111111111111111111111111111111111";

    CHECK(world);
    world->seed = seed;
    world->dice.state = seed;
    world->chaos.dice.state = seed ^ UINT64_C(0x5bd1e995);
    fibres_begin(seed ^ UINT64_C(0xabcdef));
    pick_themes(world);
    world->themes &= ~without;
    if (themes)
        world->themes = themes;
    world->minutes = !(without & (1u << THEME_PERIOD));
    sim_epoch_ms = SIM_EPOCH_MS;
    if (world_has(world, THEME_PERIOD) && dice_one_in(&world->dice, 2))
        sim_epoch_ms = SIM_EPOCH_TURN_MS;
    redis_init(&world->nodes[0], replid, database_ms, NULL);
    postgres_init(&world->postgres, &world->chaos, database_ms, NULL);
    transport_use(&world->nodes[0], &world->chaos);
    postgres_use(&world->postgres);
    world->end_us = minutes * 60000000;
    world->truth.postgres = &world->postgres;
    world->truth.trouble_us = -1;
    world->truth.strict = !(world->themes &
                            (1u << THEME_REDIS_NET | 1u << THEME_POSTGRES_NET | 1u << THEME_KILL |
                             1u << THEME_LOSS | 1u << THEME_KEYS | 1u << THEME_AUTHORITY |
                             1u << THEME_AWAY | 1u << THEME_FAILOVER));
    world->truth.only_away =
        !(world->themes & (1u << THEME_REDIS_NET | 1u << THEME_LOSS | 1u << THEME_KEYS |
                           1u << THEME_AUTHORITY));
    if (world_has(world, THEME_LATE))
        world->postgres.lag_us[1] = dice_between(&world->dice, 0, LAG_MAX_US);
    return world;
}

void world_destroy(struct world *world)
{
    fibres_end();
    for (int i = 0; i <= world->node; i++)
        redis_done(&world->nodes[i]);
    keyspace_clear(&world->snapshot);
    postgres_done(&world->postgres);
    truth_away_done(&world->truth);
    free(world);
}

void world_pick_away(struct world *world, const char *tenant, enum redis_away *ret_away,
                     int64_t *ret_units)
{
    bool open = strcmp(tenant, "bolt") == 0 || strcmp(tenant, "dune") == 0;

    *ret_away = REDIS_AWAY_POSTGRES;
    if (world_has(world, THEME_AWAY) && open && !dice_one_in(&world->dice, 6))
        *ret_away = REDIS_AWAY_OPEN;
    else if (world_has(world, THEME_AWAY) && dice_one_in(&world->dice, 2))
        *ret_away = dice_one_in(&world->dice, 2) ? REDIS_AWAY_CLOSED : REDIS_AWAY_OPEN;
    *ret_units = *ret_away == REDIS_AWAY_OPEN ? OPEN_UNITS : 0;
}

/* Days of a time zone whose clocks are put forward in the second: what was written of them. */
static struct calendar calendar_of(enum period period)
{
    int64_t turns_ms = sim_epoch_ms + 70000;

    if (period != PERIOD_DAY)
        return (struct calendar){0};
    return (struct calendar){4,
                             {turns_ms - DAY_IN_MS, turns_ms, turns_ms + DAY_IN_MS - HOUR_IN_MS,
                              turns_ms + 2 * DAY_IN_MS - HOUR_IN_MS}};
}

static void put_limit(struct world *world, struct database *db, struct arena *arena,
                      const char *tenant, const char *name, const char *meter,
                      enum period period, int64_t amount, int64_t overage)
{
    struct ledger_note note = {SLICE("sim"), SLICE("setup"), SLICE("")};
    struct ledger_limit limit = {
        .tenant = slice_from_cstr(tenant),
        .limit_name = slice_from_cstr(name),
        .scope = SLICE(""),
        .meter = slice_from_cstr(meter),
        .period = period,
        .calendar = calendar_of(period),
        .amount = amount,
        .overage_kind = overage ? OVERAGE_PERCENT : OVERAGE_NONE,
        .overage = overage,
        .reserved_crossings = amount % 2 == 0,
    };
    struct quota_row *rows;
    enum ledger_admin answer;
    bool created;
    size_t count;

    world_pick_away(world, tenant, &limit.redis_away, &limit.redis_away_units);
    CHECK(sim_limit_put(db, arena, &note, SLICE(""), false, 10000, &limit, &created, &rows,
                           &count, &answer) == STATUS_OK);
    CHECK(answer == ADMIN_DONE);
}

static void add_tenant(struct world *world, int i, struct database *db, struct arena *arena)
{
    static const char *const names[WORLD_TENANTS] = {"acme", "bolt", "core", "dune", "echo"};
    struct ledger_note note = {SLICE("sim"), SLICE("setup"), SLICE("")};
    struct ledger_tenant tenant = {.tenant = slice_from_cstr(names[i]), .display_name = SLICE("")};
    int64_t amount = world_has(world, THEME_TIGHT) ? 100 : dice_between(&world->dice, 100, 3000);
    enum ledger_admin answer;

    if (world_has(world, THEME_BULK) && i == 0)
        amount = 1000000;
    CHECK(sim_tenant_create(db, arena, &note, false, &tenant, &answer) == STATUS_OK);
    world->tenants[i] = (struct truth_tenant){
        .name = names[i], .tenant_id = tenant.tenant_id, .lost_us = -1,
        .adjusted_us = -1000000000, .cap_changed_us = -1000000000,
        .read_only_us = -1, .accepted_us = -1000000000};
    put_limit(world, db, arena, names[i], "total", sim_meters[0], PERIOD_NEVER, amount * 4,
              dice_one_in(&world->dice, 2) ? 10 : 0);
    if (world_has(world, THEME_PERIOD) || (world->minutes && dice_one_in(&world->dice, 3)))
        put_limit(world, db, arena, names[i], "minute", sim_meters[0], PERIOD_MINUTE, amount, 0);
    put_limit(world, db, arena, names[i], "hour", sim_meters[1], PERIOD_HOUR, amount * 2, 10);
    if (world_has(world, THEME_PERIOD))
        put_limit(world, db, arena, names[i], "zone", sim_meters[0], PERIOD_DAY, amount * 2, 10);
    if (sim_epoch_ms == SIM_EPOCH_TURN_MS) {
        put_limit(world, db, arena, names[i], "week", sim_meters[1], PERIOD_WEEK, amount * 2, 10);
        put_limit(world, db, arena, names[i], "year", sim_meters[0], PERIOD_YEAR, amount * 3, 0);
    }
}

static void build(void *user)
{
    struct world *world = user;
    const struct database_options options = {.statement_timeout_ms = 5000};
    struct database *db = sim_database_create(&options);
    struct arena arena;

    arena_init(&arena, 65536, 1 << 24);
    for (int i = 0; i < WORLD_TENANTS; i++)
        add_tenant(world, i, db, &arena);
    sim_database_destroy(db);
    arena_done(&arena);
    if (world_has(world, THEME_AUTHORITY))
        postgres_begin_epochs(&world->postgres, EPOCH_FIRST);
}

/* --- servers ------------------------------------------------------------------------------------ */

struct boot {
    struct world *world;
    int which;
};

static void boot(void *user)
{
    struct boot boot = *(struct boot *)user;

    free(user);
    boot.world->servers[boot.which] = server_start(fibre_group());
}

void world_start_server(struct world *world, int which)
{
    struct boot *of = malloc(sizeof(*of));

    CHECK(of);
    *of = (struct boot){world, which};
    fibre_start("boot", ++world->groups, boot, of);
}

/* --- the run ------------------------------------------------------------------------------------ */

static void set_chaos(struct world *world)
{
    int64_t often = dice_between(&world->dice, 40, 400);
    const struct chaos_rates bad = {.refused = 6 * often,
                                    .lost_before = 3 * often,
                                    .lost_after = 2 * often,
                                    .late = 4 * often,
                                    .cut = 4 * often,
                                    .slow = often,
                                    .stalled = 20 * often};

    world->chaos.latency_us = LATENCY_US;
    if (world_has(world, THEME_REDIS_NET))
        world->chaos.redis = bad;
    if (world_has(world, THEME_POSTGRES_NET))
        world->chaos.postgres = bad;
}

static void direct(void *user)
{
    struct world *world = user;

    build(world);
    set_chaos(world);
    for (int i = 0; i < WORLD_SERVERS; i++)
        world_start_server(world, i);
    fibre_sleep_us(1500000);
    for (int i = 0; i < CLIENTS; i++) {
        world->clients++;
        fibre_start("client", GROUP_WORLD, world_client, world);
    }
    if (world_has(world, THEME_ADMIN) || world_has(world, THEME_REPEAT)) {
        world->clients++;
        fibre_start("admin", GROUP_WORLD, world_admin, world);
    }
    if (world_has(world, THEME_BULK)) {
        world->clients++;
        fibre_start("bulk", GROUP_WORLD, world_bulk, world);
    }
    if (world_has(world, THEME_FAILOVER)) {
        world->clients++;
        fibre_start("failover", GROUP_WORLD, world_failover, world);
    }
    world->clients++;
    fibre_start("trouble", GROUP_WORLD, world_trouble, world);
    while (world->clients > 0)
        fibre_sleep_us(100000);
    world_rest(world);
    world->trouble_over = true;
}

bool world_run(struct world *world)
{
    fibre_start("director", GROUP_WORLD, direct, world);
    while (!world->trouble_over && !world->truth.broken) {
        fibres_run(fibre_now_us() + 1000000);
        if (fibre_now_us() > 4 * world->end_us + INT64_C(7200000000))
            truth_break(&world->truth, "a run ends", NULL, "clients still wait");
    }
    return !world->truth.broken;
}
