/*
 * Trouble: what administrators, stores, processes and outsiders do to a run.
 */
#include "tests/sim/world.h"

#include "base/amount.h"
#include "base/check.h"
#include "tests/sim/fibre.h"
#include "tests/sim/server.h"
#include "tests/sim/transport.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>
#include <string.h>

/* What a call that began before the quiet may take, and then what idle capacity has to come back in. */
enum { QUIET_CHECKED_US = 28000000 };

/* How many epochs a database that was put back has forgotten, at most. */
enum { BACK_MAX = 40 };

/* --- administrators ----------------------------------------------------------------------------- */

static void change_limit(struct world *world, struct truth_tenant *tenant, struct ask *ask)
{
    bool delete = dice_one_in(&world->dice, 6);
    const struct pg_tenant *rows = postgres_tenant(&world->postgres, tenant->tenant_id);
    const struct pg_limit *limit = rows->limits;

    for (int64_t back = dice_below(&world->dice, 3); back > 0 && limit->next; back--)
        limit = limit->next;
    ask->verb = delete ? VERB_DELETE_LIMIT : VERB_PUT_LIMIT;
    ask->job = limit->limit.limit_name.data;
    ask->meter = limit->limit.meter.data;
    ask->period = limit->limit.period;
    ask->amount = dice_between(&world->dice, 20, 4000);
    ask->overage_percent = dice_one_in(&world->dice, 2) ? 10 : 0;
    world_pick_away(world, tenant->name, &ask->redis_away, &ask->redis_away_units);
}

void world_admin(void *user)
{
    struct world *world = user;
    int64_t requests = 0;

    while (fibre_now_us() < world->end_us && !world->truth.broken) {
        struct truth_tenant *tenant = &world->tenants[dice_below(&world->dice, WORLD_TENANTS)];
        struct ask ask = {.tenant = tenant->name, .request_id = NULL};
        char request_id[32];
        struct reply reply;

        fibre_sleep_us(dice_between(&world->dice, 100000, 20000000));
        if (dice_one_in(&world->dice, 4)) {
            ask.verb = VERB_TENANT;
            ask.suspended = !tenant->suspended && dice_one_in(&world->dice, 2);
        } else {
            change_limit(world, tenant, &ask);
        }
        ask.give_up_us = fibre_now_us() + 5000000;
        snprintf(request_id, sizeof(request_id), "r%" PRId64, ++requests);
        ask.request_id = request_id;
        tenant->admin_open++;
        if (ask.verb == VERB_TENANT)
            tenant->suspended_maybe = true;
        world_call(world, &ask, &reply);
        world_trace(world, "%s %s %s amount %" PRId64 " suspended %d: %s", tenant->name,
                    verb_names[ask.verb], ask.job ? ask.job : "", ask.amount, ask.suspended,
                    !reply.answered                  ? "no answer"
                    : reply.failure != FAILURE_NONE ? reply.text
                                                    : "ok");
        tenant->admin_open--;
        tenant->cap_changed_us = fibre_now_us();
        if (ask.verb == VERB_TENANT) {
            tenant->suspended = postgres_tenant(&world->postgres, tenant->tenant_id)->info.suspended;
            tenant->suspended_maybe = !reply.answered || reply.failure != FAILURE_NONE;
        }
    }
    world->clients--;
}

/* --- Redis -------------------------------------------------------------------------------------- */

/* A node of another incarnation with this data becomes the current one. */
static void replace_node(struct world *world, const struct keyspace *data, bool zombie)
{
    struct redis *before = &world->nodes[world->node], *node;
    char replid[41];

    if (world->node + 1 == WORLD_NODES)
        return;
    node = &world->nodes[++world->node];
    memset(replid, '0' + world->node % 10, 40);
    replid[39] = (char)('a' + world->node % 6);
    replid[38] = (char)('a' + world->node / 6 % 6);
    replid[40] = '\0';
    redis_init(node, replid, before->now_ms, before->user);
    if (data)
        keyspace_copy(data, &node->data);
    before->dead = !zombie;
    transport_use(node, &world->chaos);
}

static bool has_any(const struct world *world, const enum theme *themes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (world_has(world, themes[i]))
            return true;
    return false;
}

/* Servers whose connections lead to both begin one new epoch, or two; never one by each in turn. */
static void check_epochs(struct world *world)
{
    static const enum theme others[] = {THEME_KILL, THEME_REDIS_NET, THEME_POSTGRES_NET, THEME_AWAY,
                                        THEME_AUTHORITY, THEME_KEYS};

    if (has_any(world, others, ARRAY_COUNT(others)))
        return;
    for (int shard = 0; shard < SHARDS; shard++) {
        int64_t begun = world->postgres.authority[shard].view.epoch - world->split_epochs[shard];

        if (begun > 2)
            truth_break(&world->truth, "at most two epochs per failover", NULL,
                        "%" PRId64 " epochs of shard %d", begun, shard);
    }
}

/* An old primary does not live on for ever. */
static void end_split(struct world *world)
{
    if (!world->truth.split)
        return;
    check_epochs(world);
    world_trace(world, "redis: the old primary is gone");
    for (int i = 0; i < world->node; i++)
        world->nodes[i].dead = true;
    world->truth.split = false;
    world_note_trouble(world, NULL, true);
}

static void lose_redis(struct world *world)
{
    struct redis *node = &world->nodes[world->node];

    if (world->truth.split) {
        end_split(world);
        return;
    }
    switch (dice_below(&world->dice, 6)) {
    case 0:
        world_trace(world, "redis: FLUSHALL");
        keyspace_clear(&node->data);
        world_note_trouble(world, NULL, true);
        break;
    case 1:
        world_trace(world, "redis: restart with its data");
        replace_node(world, &node->data, false);
        world_note_trouble(world, NULL, true);
        break;
    case 2:
        world_trace(world, "redis: restart without data");
        replace_node(world, NULL, false);
        world_note_trouble(world, NULL, true);
        break;
    case 3:
        world_trace(world, "redis: restart from the snapshot");
        replace_node(world, &world->snapshot, false);
        world_note_trouble(world, NULL, true);
        break;
    case 4:
        world_trace(world, "redis: failover to the snapshot, the old primary lives on");
        for (int shard = 0; shard < SHARDS; shard++)
            world->split_epochs[shard] = world->postgres.authority[shard].view.epoch;
        replace_node(world, &world->snapshot, true);
        world->truth.split = true;
        world_note_trouble(world, NULL, true);
        break;
    default:
        keyspace_copy(&node->data, &world->snapshot);
    }
}

/* Now and then a tenant's hash takes the list of its leases along. */
static void lose_twin(struct world *world, struct redis *node, struct slice name)
{
    const char *kind = memmem(name.data, name.len, ":t:", 3);
    char twin[128];

    if (!kind || name.len >= sizeof(twin) || dice_below(&world->dice, 3) != 0)
        return;
    memcpy(twin, name.data, name.len);
    twin[kind - name.data + 1] = 'c';
    world_trace(world, "redis: DEL %.*s", (int)name.len, twin);
    keyspace_remove(node, slice_of(twin, name.len));
}

static void lose_key(struct world *world)
{
    struct redis *node = &world->nodes[world->node];
    int64_t at = node->data.keys.count ? dice_below(&world->dice, (int64_t)node->data.keys.count) : 0;
    struct member *member = table_next(&node->data.keys, NULL);

    while (member && at-- > 0)
        member = table_next(&node->data.keys, member);
    if (!member)
        return;
    world_trace(world, "redis: DEL %.*s", SLICE_ARGS(member->name));
    world->chaos.keys_lost = true;
    lose_twin(world, node, member->name);
    keyspace_remove(node, member->name);
    world_note_trouble(world, NULL, true);
}

/* --- processes, Postgres, outsiders ------------------------------------------------------------- */

static void kill_server(struct world *world)
{
    int which = (int)dice_below(&world->dice, WORLD_SERVERS);
    struct server *server = world->servers[which];

    if (!server || !server->up)
        return;
    world_trace(world, "server %d: kill -9", server->group);
    server_kill(server);
    world_note_trouble(world, NULL, false);
    fibre_sleep_us(dice_between(&world->dice, 0, 3000000));
    /* Its sessions end when Postgres notices. */
    postgres_group_gone(&world->postgres, server->group);
    world_start_server(world, which);
}

static void stick(struct world *world)
{
    struct truth_tenant *tenant = &world->tenants[dice_below(&world->dice, WORLD_TENANTS)];

    world_trace(world, "%s: rows locked by an outsider", tenant->name);
    tenant->stuck = true;
    postgres_lock_tenant(&world->postgres, tenant->tenant_id);
    fibre_sleep_us(dice_between(&world->dice, 500000, 20000000));
    postgres_unlock_tenant(&world->postgres, tenant->tenant_id);
    tenant->stuck = false;
    tenant->stuck_until_us = fibre_now_us() + 10000000;
    world_trace(world, "%s: rows free again", tenant->name);
}

static void go_away(struct world *world)
{
    int64_t which = dice_below(&world->dice, 6); /* Postgres, both, or Redis */

    world->chaos.redis_away = which > 1;
    world->chaos.postgres_away = which < 4;
    world->truth.absences += world->chaos.redis_away;
    world_trace(world, "%s%s: away", world->chaos.redis_away ? "redis" : "",
                world->chaos.postgres_away ? " postgres" : "");
    world_note_trouble(world, NULL, false);
    fibre_sleep_us(dice_between(&world->dice, 100000, 8000000));
    world->chaos.redis_away = world->chaos.postgres_away = false;
    world_trace(world, "both are there again");
    world_note_trouble(world, NULL, false);
}

/* Nobody calls; afterwards what nobody uses is back. */
static void keep_quiet(struct world *world)
{
    int64_t length_us = dice_between(&world->dice, 4000000, 40000000);

    world_trace(world, "clients: quiet for %" PRId64 " ms", length_us / 1000);
    world->quiet_us = fibre_now_us() + length_us;
    fibre_sleep_us(length_us);
    if (length_us > QUIET_CHECKED_US)
        world_check_idle(world);
}

/* The new epoch is above whatever Redis has had: at once, not one after the other. */
static void check_climb(struct world *world, int shard, int64_t bumps_before)
{
    static const enum theme others[] = {THEME_KILL, THEME_REDIS_NET, THEME_POSTGRES_NET, THEME_AWAY,
                                        THEME_LOSS, THEME_KEYS};

    fibre_sleep_us(5000000);
    if (has_any(world, others, ARRAY_COUNT(others)))
        return;
    if (world->postgres.bumps[shard] - bumps_before > 2)
        truth_break(&world->truth, "at most two epochs after a root that went back", NULL,
                    "%" PRId64 " epochs of shard %d", world->postgres.bumps[shard] - bumps_before, shard);
}

static void roll_authority_back(struct world *world)
{
    struct truth_tenant *tenant = &world->tenants[dice_below(&world->dice, WORLD_TENANTS)];
    struct pg_tenant *rows = postgres_tenant(&world->postgres, tenant->tenant_id);
    struct pg_authority *authority = &world->postgres.authority[rows->shard];
    int64_t before = 0, bumps = world->postgres.bumps[rows->shard];

    if (dice_one_in(&world->dice, 2)) {
        if (!authority->exists || authority->view.epoch <= 1)
            return;
        before = authority->view.epoch;
        authority->view.epoch -= dice_between(&world->dice, 1, amount_min(before - 1, BACK_MAX));
        authority->view.active = true;
        snprintf(authority->view.nonce, sizeof(authority->view.nonce), "%032d", 7);
        world_trace(world, "postgres: authority of shard %d goes back from epoch %" PRId64 " to %" PRId64,
                    rows->shard, before, authority->view.epoch);
    } else {
        if (rows->info.config_version <= 1)
            return;
        world_trace(world, "postgres: config version of %s goes back from %" PRId64, tenant->name,
                    rows->info.config_version);
        rows->info.config_version--;
        tenant->cap_changed_us = fibre_now_us();
    }
    world_note_trouble(world, NULL, true);
    if (before > 0)
        check_climb(world, rows->shard, bumps);
}

void world_trouble(void *user)
{
    static void (*const acts[THEMES])(struct world *world) = {
        [THEME_KILL] = kill_server,       [THEME_LOSS] = lose_redis,
        [THEME_KEYS] = lose_key,          [THEME_STUCK] = stick,
        [THEME_AUTHORITY] = roll_authority_back, [THEME_AWAY] = go_away,
        [THEME_QUIET] = keep_quiet,
    };
    struct world *world = user;

    while (fibre_now_us() < world->end_us && !world->truth.broken) {
        int theme = (int)dice_below(&world->dice, THEMES_PICKED);

        fibre_sleep_us(dice_between(&world->dice, 500000, 8000000));
        if (acts[theme] && world_has(world, (enum theme)theme))
            acts[theme](world);
    }
    world->clients--;
}
