/*
 * Clients: they reserve, repeat, commit, release and extend, by token and by job, on any server.
 */
#include "tests/sim/world.h"

#include "base/check.h"
#include "tests/sim/fibre.h"
#include "tests/sim/server.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>
#include <stdlib.h>

enum { RECENT_JOBS = 10 };

struct truth_job *world_new_job(struct world *world, struct truth_tenant *tenant)
{
    struct truth_job *job = calloc(1, sizeof(*job));
    bool never = world_has(world, THEME_NEVER) && dice_one_in(&world->dice, 3);

    CHECK(job);
    job->tenant = tenant;
    job->first_us = fibre_now_us();
    job->released_us = -1;
    snprintf(job->name, sizeof(job->name), "job%" PRId64, ++world->jobs);
    job->units[0] = dice_one_in(&world->dice, 4) ? -1 : dice_between(&world->dice, 0, 40);
    job->units[1] = job->units[0] < 0 || dice_one_in(&world->dice, 3)
                        ? dice_between(&world->dice, 1, 40)
                        : -1;
    if (world_has(world, THEME_TIGHT) && dice_one_in(&world->dice, 3) && job->units[0] > 0)
        job->units[0] = dice_between(&world->dice, 40, 110);
    if (never && job->units[0] > 0)
        job->units[0] = 1000000;
    for (size_t i = 0; i < SIM_METERS; i++)
        job->actual[i] = -1;
    if (dice_one_in(&world->dice, 2))
        for (size_t i = 0; i < SIM_METERS; i++)
            if (job->units[i] >= 0)
                job->actual[i] = dice_between(&world->dice, 0, job->units[i] +
                                              (dice_one_in(&world->dice, 3) ? 20 : 0));
    job->next = tenant->jobs;
    tenant->jobs = job;
    return job;
}

struct server *world_any_server(struct world *world)
{
    int which = (int)dice_below(&world->dice, WORLD_SERVERS);

    if (!world->servers[which] || !world->servers[which]->up)
        which = (which + 1) % WORLD_SERVERS;
    while (!world->servers[which] || !world->servers[which]->up) {
        fibre_sleep_us(20000);
        which = (which + 1) % WORLD_SERVERS;
    }
    return world->servers[which];
}

void world_call(struct world *world, const struct ask *ask, struct reply *reply)
{
    sim_call(world_any_server(world), ask, reply);
}

static const char *answer_text(const struct ask *ask, const struct reply *reply, char *text,
                               size_t size)
{
    if (!reply->answered)
        return "no answer";
    if (reply->failure != FAILURE_NONE)
        snprintf(text, size, "%s: %s", reply->unknown ? "UNKNOWN" : "error", reply->text);
    else if (ask->verb == VERB_RESERVE)
        snprintf(text, size, "decision %d reason %d%s %" PRId64 ".%" PRId64 " until %" PRId64,
                 (int)reply->decision, (int)reply->reason, reply->replayed ? " replayed" : "",
                 reply->hold.attempt.epoch, reply->hold.attempt.seq,
                 reply->hold.deadline_ms ? reply->hold.deadline_ms - sim_epoch_ms : 0);
    else if (ask->verb == VERB_COMMIT || ask->verb == VERB_CHARGE)
        snprintf(text, size, "ok%s%s %" PRId64 ".%" PRId64 " amounts %" PRId64 " %" PRId64
                 " debt %" PRId64 " %" PRId64, reply->replayed ? " replayed" : "",
                 reply->late ? " late" : "", reply->recorded.epoch, reply->recorded.seq,
                 reply->amount[0], reply->amount[1], reply->debt[0], reply->debt[1]);
    else
        snprintf(text, size, "ok%s %" PRId64 ".%" PRId64 " until %" PRId64 " state %d",
                 reply->replayed ? " replayed" : "",
                 ask->verb == VERB_RELEASE ? reply->recorded.epoch : reply->hold.attempt.epoch,
                 ask->verb == VERB_RELEASE ? reply->recorded.seq : reply->hold.attempt.seq,
                 reply->hold.deadline_ms ? reply->hold.deadline_ms - sim_epoch_ms : 0,
                 (int)reply->state);
    return text;
}

bool world_ask(struct world *world, struct truth_job *job, struct ask *ask, struct server *server)
{
    int64_t begun_us;
    struct reply reply;
    char text[160];

    ask->tenant = job->tenant->name;
    ask->job = job->name;
    truth_begin(&world->truth, job, ask);
    begun_us = fibre_now_us();
    sim_call(server, ask, &reply);
    world_trace(world, "%s/%s %s%s units %" PRId64 " %" PRId64 " ttl %" PRId64 " s%d +%" PRId64
                " ms: %s", job->tenant->name, job->name, verb_names[ask->verb],
                ask->token ? " by token" : "", ask->units[0], ask->units[1], ask->ttl_ms,
                server->group, (fibre_now_us() - begun_us) / 1000,
                answer_text(ask, &reply, text, sizeof(text)));
    world->allows += reply.has_hold;
    world->rejects += reply.answered && reply.decision == DECISION_REJECT;
    world->commits += reply.answered && reply.failure == FAILURE_NONE &&
                      (ask->verb == VERB_COMMIT || ask->verb == VERB_CHARGE);
    truth_end(&world->truth, job, ask, begun_us, &reply);
    return reply.answered && reply.failure == FAILURE_NONE && reply.decision == DECISION_REJECT;
}

static int64_t any_ttl(struct world *world)
{
    if (world_has(world, THEME_LATE))
        return dice_between(&world->dice, 100, 3000);
    if (world_has(world, THEME_QUIET) && dice_one_in(&world->dice, 4))
        return dice_between(&world->dice, 60000, 400000);
    switch (dice_below(&world->dice, 4)) {
    case 0:
        return dice_between(&world->dice, 100, 2000);
    case 1:
        return dice_between(&world->dice, 2000, 20000);
    default:
        return dice_between(&world->dice, 20000, 60000);
    }
}

static int64_t any_patience_us(struct world *world)
{
    static const int64_t choices[] = {500000, 2000000, 5000000, 15000000};

    return choices[dice_below(&world->dice, ARRAY_COUNT(choices))];
}

static struct truth_job *any_job(struct world *world, struct truth_tenant *tenant)
{
    int64_t new_in = world_has(world, THEME_REPEAT) || world_has(world, THEME_RACE) ? 5 : 3;
    int64_t back;
    struct truth_job *job = tenant->jobs;

    if (!job || dice_one_in(&world->dice, new_in))
        return world_new_job(world, tenant);
    back = world_has(world, THEME_RACE) ? dice_below(&world->dice, 2)
                                        : dice_below(&world->dice, RECENT_JOBS);
    while (back-- > 0 && job->next)
        job = job->next;
    return job;
}

static enum verb any_verb(struct world *world, const struct truth_job *job)
{
    int64_t at = dice_below(&world->dice, 100);

    if (job->attempts_count == 0)
        return at < 90 ? VERB_RESERVE : at < 95 ? VERB_COMMIT : VERB_GET;
    if (world_has(world, THEME_REPEAT) && at < 40)
        return VERB_RESERVE;
    if (world_has(world, THEME_RACE))
        return at < 20 ? VERB_RESERVE : at < 45 ? VERB_EXTEND : at < 75 ? VERB_RELEASE
               : at < 90 ? VERB_COMMIT : VERB_GET;
    if (world_has(world, THEME_PERIOD) && at < 40)
        return VERB_EXTEND;
    return at < 15 ? VERB_RESERVE : at < 60 ? VERB_COMMIT : at < 75 ? VERB_RELEASE
           : at < 92 ? VERB_EXTEND : VERB_GET;
}

static void use_token(struct world *world, struct truth_job *job, struct ask *ask,
                      struct sim_hold *token)
{
    const struct truth_attempt *attempt = truth_newest(job);

    if (!attempt || dice_one_in(&world->dice, 2))
        return;
    if (dice_one_in(&world->dice, world_has(world, THEME_LOSS) && world_has(world, THEME_RACE) ? 2 : 8))
        attempt = &job->attempts[dice_below(&world->dice, (int64_t)job->attempts_count)];
    *token = attempt->hold;
    if (dice_one_in(&world->dice, 3))
        token->deadline_ms = attempt->deadline_first_ms;
    ask->token = token;
}

/* Half of the time a Commit or Extend is aimed at the moment when the hold ends. */
static void wait_for_deadline(struct world *world, struct truth_job *job)
{
    const struct truth_attempt *attempt = truth_newest(job);
    int64_t left_us;

    if (!attempt || !world_has(world, THEME_LATE) || dice_one_in(&world->dice, 2))
        return;
    left_us = (attempt->hold.deadline_ms - sim_ms_at(fibre_now_us())) * 1000 +
              dice_between(&world->dice, -20000, 100000);
    if (left_us > 0 && left_us < 10000000)
        fibre_sleep_us(left_us);
}

/* A Charge says what was used; a job whose Commits say nothing is committed. */
static enum verb or_charge(struct world *world, const struct truth_job *job, enum verb verb)
{
    bool given = job->actual[0] >= 0 || job->actual[1] >= 0;

    if (given && ((verb == VERB_COMMIT && dice_one_in(&world->dice, 5)) ||
                  (verb == VERB_RESERVE && job->attempts_count == 0 && dice_one_in(&world->dice, 8))))
        return VERB_CHARGE;
    return verb;
}

/* --- two at once ------------------------------------------------------------------------------- */

struct twin {
    struct world *world;
    struct truth_job *job;
    struct ask ask;
    struct sim_hold token;
    struct server *server;
};

static void ask_as_twin(void *user)
{
    struct twin *twin = user;

    if (twin->server->up)
        world_ask(twin->world, twin->job, &twin->ask, twin->server);
    twin->world->clients--;
    free(twin);
}

/* Somebody else asks something of the same job at this moment, at the other server. */
static void start_twin(struct world *world, struct truth_job *job, const struct ask *ask,
                       const struct server *server)
{
    static const enum verb verbs[] = {VERB_COMMIT, VERB_RELEASE, VERB_EXTEND};
    struct twin *twin = calloc(1, sizeof(*twin));

    CHECK(twin);
    *twin = (struct twin){.world = world, .job = job, .ask = *ask};
    twin->server = world->servers[world->servers[0] == server];
    if (!twin->server || !twin->server->up) {
        free(twin);
        return;
    }
    if (ask->token) {
        twin->token = *ask->token;
        twin->ask.token = &twin->token;
    }
    if (ask->verb != VERB_RESERVE)
        twin->ask.verb = verbs[dice_below(&world->dice, ARRAY_COUNT(verbs))];
    for (size_t i = 0; i < SIM_METERS && twin->ask.verb != VERB_RESERVE; i++)
        twin->ask.units[i] = job->actual[i];
    world->clients++;
    fibre_start("twin", 0, ask_as_twin, twin);
}

/* Who was refused asks for less at once, of the same server. */
static void ask_for_less(struct world *world, struct truth_tenant *tenant, struct server *server)
{
    struct truth_job *job = world_new_job(world, tenant);
    struct ask ask = {.verb = VERB_RESERVE, .ttl_ms = 2000, .give_up_us = fibre_now_us() + 5000000};

    for (size_t i = 0; i < SIM_METERS; i++) {
        job->units[i] = ask.units[i] = job->units[i] > 0 ? 1 : job->units[i];
        job->actual[i] = -1;
    }
    world_ask(world, job, &ask, server);
}

/* ------------------------------------------------------------------------------------------------ */

static void one_call(struct world *world)
{
    struct truth_tenant *tenant = &world->tenants[dice_below(&world->dice, WORLD_TENANTS)];
    struct truth_job *job = any_job(world, tenant);
    struct ask ask = {.verb = any_verb(world, job),
                      .overrun = OVERRUN_RECORD,
                      .ttl_ms = any_ttl(world),
                      .brief = dice_one_in(&world->dice, 2)};
    struct sim_hold token;
    struct server *server;

    ask.verb = or_charge(world, job, ask.verb);
    if (ask.verb == VERB_COMMIT || ask.verb == VERB_CHARGE || ask.verb == VERB_EXTEND)
        wait_for_deadline(world, job);
    ask.give_up_us = fibre_now_us() + any_patience_us(world);
    for (size_t i = 0; i < SIM_METERS; i++)
        ask.units[i] = ask.verb == VERB_RESERVE ? job->units[i] : job->actual[i];
    if (ask.verb != VERB_RESERVE && ask.verb != VERB_CHARGE)
        use_token(world, job, &ask, &token);
    server = world_any_server(world);
    if ((world_has(world, THEME_RACE) || world_has(world, THEME_REPEAT)) && ask.verb != VERB_GET &&
        dice_one_in(&world->dice, 4))
        start_twin(world, job, &ask, server);
    if (world_ask(world, job, &ask, server) && world_has(world, THEME_TIGHT) && server->up &&
        dice_one_in(&world->dice, 2))
        ask_for_less(world, tenant, server);
}

static void look_at_usage(struct world *world)
{
    struct truth_tenant *tenant = &world->tenants[dice_below(&world->dice, WORLD_TENANTS)];
    struct ask ask = {.verb = VERB_USAGE,
                      .tenant = tenant->name,
                      .give_up_us = fibre_now_us() + 5000000};
    int64_t begun_us = fibre_now_us();
    struct reply reply;

    sim_call(world_any_server(world), &ask, &reply);
    truth_usage(&world->truth, tenant, begun_us, &reply);
}

/* --- corrections --------------------------------------------------------------------------------- */

/* Some job that is recorded, or NULL. */
static struct truth_job *any_recorded(struct world *world)
{
    struct truth_tenant *tenant = &world->tenants[dice_below(&world->dice, WORLD_TENANTS)];
    int64_t back = dice_below(&world->dice, RECENT_JOBS);

    for (struct truth_job *job = tenant->jobs; job; job = job->next)
        if (job->committed && job->record.has_record && back-- <= 0)
            return job;
    return NULL;
}

/* One that was asked for before, or another one. */
static struct truth_adjust *any_adjust(struct world *world, struct truth_job *job)
{
    struct truth_adjust *adjust;
    bool meters[SIM_METERS];

    for (size_t i = 0; i < SIM_METERS; i++)
        meters[i] = job->units[i] >= 0;
    if (job->adjusts_count == TRUTH_ADJUSTS ||
        (job->adjusts_count > 0 && dice_one_in(&world->dice, 2)))
        return &job->adjusts[dice_below(&world->dice, (int64_t)job->adjusts_count)];
    adjust = &job->adjusts[job->adjusts_count++];
    snprintf(adjust->id, sizeof(adjust->id), "fix%" PRId64, ++world->jobs);
    for (size_t i = 0; i < SIM_METERS; i++) {
        int64_t most = job->record.amount[i] + job->record.debt[i];

        if (!meters[i] || (i > 0 && adjust->delta[0] != 0 && dice_one_in(&world->dice, 2)))
            continue;
        adjust->delta[i] = dice_one_in(&world->dice, 3) ? dice_between(&world->dice, 1, 15)
                                                        : -dice_between(&world->dice, 1, most + 2);
    }
    return adjust;
}

static void adjust_one(struct world *world)
{
    struct truth_job *job = any_recorded(world);
    struct truth_adjust *adjust = job ? any_adjust(world, job) : NULL;
    struct ask ask = {.verb = VERB_ADJUST};
    struct server *server;
    struct reply reply;
    int64_t begun_us;
    bool was_made;
    char text[160];

    if (!adjust)
        return;
    was_made = adjust->made;
    ask.tenant = job->tenant->name;
    ask.job = job->name;
    ask.request_id = adjust->id;
    ask.give_up_us = fibre_now_us() + any_patience_us(world);
    for (size_t i = 0; i < SIM_METERS; i++)
        ask.units[i] = adjust->delta[i];
    server = world_any_server(world);
    begun_us = fibre_now_us();
    world->truth.calls++;
    job->tenant->adjusts_open++;
    sim_call(server, &ask, &reply);
    job->tenant->adjusts_open--;
    /* Without an answer it may land later. */
    job->tenant->adjusted_us = fibre_now_us() + (reply.answered && !reply.unknown ? 0 : 30000000);
    world_trace(world, "%s/%s Adjust %s by %" PRId64 " %" PRId64 " s%d +%" PRId64 " ms: %s%s",
                ask.tenant, ask.job, adjust->id, ask.units[0], ask.units[1], server->group,
                (fibre_now_us() - begun_us) / 1000, reply.replayed ? "replayed " : "",
                answer_text(&ask, &reply, text, sizeof(text)));
    truth_answered(&world->truth, job, &ask, &reply, begun_us);
    truth_adjusted(&world->truth, job, adjust, begun_us, was_made, &reply);
}

static void think(struct world *world)
{
    int64_t at = dice_below(&world->dice, 100);

    if (at < 40)
        fibre_sleep_us(dice_between(&world->dice, 0, 5000));
    else if (at < 97)
        fibre_sleep_us(dice_between(&world->dice, 10000, 2000000));
    else
        fibre_sleep_us(dice_between(&world->dice, 5000000, 60000000));
}

void world_client(void *user)
{
    struct world *world = user;

    while (fibre_now_us() < world->end_us && !world->truth.broken) {
        if (dice_one_in(&world->dice, 30))
            look_at_usage(world);
        else if (!world_has(world, THEME_FAILOVER) && dice_one_in(&world->dice, 12))
            adjust_one(world);
        else
            one_call(world);
        think(world);
        while (fibre_now_us() < world->quiet_us)
            fibre_sleep_us(world->quiet_us - fibre_now_us());
    }
    world->clients--;
}

/* Thousands of short holds of the first tenant, all at once; nobody ends them. */
void world_bulk(void *user)
{
    struct world *world = user;
    struct truth_tenant *tenant = &world->tenants[0];

    while (fibre_now_us() < world->end_us && !world->truth.broken) {
        for (int i = 0; i < 300; i++) {
            struct truth_job *job = world_new_job(world, tenant);
            struct ask ask = {.verb = VERB_RESERVE, .units = {1, -1}, .ttl_ms = 20000};

            job->units[0] = 1;
            job->units[1] = job->actual[0] = job->actual[1] = -1;
            ask.give_up_us = fibre_now_us() + 5000000;
            world_ask(world, job, &ask, world_any_server(world));
        }
        fibre_sleep_us(dice_between(&world->dice, 10000000, 90000000));
    }
    world->clients--;
}
