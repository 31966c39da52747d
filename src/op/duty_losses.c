/*
 * What the database has lost (PROTOCOL.md 3.13). When a beat meets a history of the database that was not
 * compared with Redis yet (a standby has taken over, an earlier state was restored, it is another
 * cluster), all quotas that Redis knows are compared with their rows, shard by shard; then it is said so
 * in the database, and until then no server commits there. Every server does it, since each may be the
 * only one that reaches Redis; a loss is found once, under its quotas' locks.
 *
 * It is bounded: what could not be compared within COMPARE_MOST_MS (Redis is away, somebody keeps a
 * tenant's rows locked) is left out, with a line in the log, so that commits go on.
 */
#include "op/duty.h"

#include "base/fault.h"
#include "op/authority.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMPARE_EVERY_MS = 250,
    COMPARE_MOST_MS = 10000,
    SHARDS_PER_TURN = 8,
    TENANTS_PER_PAGE = 64,
    QUOTAS_PER_PAGE = 1000,
    RESTS_PER_PAGE = 64,
};

/* Where the survey of a shard is. */
struct spot {
    bool done;
    bool again; /* of some tenant a row was locked or contradicts others: once more from the start */
    int64_t epoch; /* of the Redis that the others are of; 0: of none yet */
    char cursor[COUNTER_CURSOR_CHARS + 1];
    struct counter_rest *rests; /* what is left of tenants of the pages before the cursor */
    size_t rests_count;
};

struct comparing {
    bool active;
    int64_t system, timeline;
    int64_t begun_us;
    size_t found;
    struct spot spots[SHARDS];
};

static void *create(void)
{
    struct comparing *comparing = calloc(1, sizeof(*comparing));

    CHECK(comparing);
    return comparing;
}

static void from_the_start(struct spot *spot)
{
    free(spot->rests);
    *spot = (struct spot){.cursor = "0"};
}

static void destroy(void *own)
{
    struct comparing *comparing = own;

    for (int shard = 0; shard < SHARDS; shard++)
        free(comparing->spots[shard].rests);
    free(comparing);
}

static void begin(struct comparing *comparing, struct duty_tools *tools)
{
    struct shard_view view;

    for (int shard = 0; shard < SHARDS; shard++)
        free(comparing->spots[shard].rests);
    *comparing = (struct comparing){.active = true,
                                    .system = tools->news->system,
                                    .timeline = tools->news->timeline,
                                    .begun_us = stores_mono_us(tools->stores)};
    for (int shard = 0; shard < SHARDS; shard++) {
        from_the_start(&comparing->spots[shard]);
        /* One that is not active now, because Redis has failed over too, is made ready by its survey. */
        comparing->spots[shard].done =
            !authority_believed(tools->stores->services->authority, shard, &view);
    }
    log_warn("losses",
             "root.compare system=%" PRIu64 " timeline=%" PRId64
             ": nothing is committed until Redis was compared with this database",
             (uint64_t)comparing->system, comparing->timeline);
}

/* Those whose period can be committed to. */
static size_t seen_of(struct stores *stores, const struct counter_survey *survey,
                      struct loss_seen *seen)
{
    int64_t now_ms = stores_now_ms(stores);
    size_t count = 0;

    for (size_t i = 0; i < survey->quotas_count; i++) {
        const struct counter_surveyed *quota = &survey->quotas[i];

        if (quota->now.period_end_ms > 0 && quota->now.period_end_ms + PERIOD_GRACE_MS <= now_ms)
            continue;
        seen[count++] = (struct loss_seen){.tenant_id = quota->tenant_id,
                                           .ref = quota->ref,
                                           .lease_id = quota->now.lease_id,
                                           .granted = quota->now.granted,
                                           .returned = quota->now.returned,
                                           .spent = quota->now.spent,
                                           .lease_deadline_ms = quota->now.lease_deadline_ms,
                                           .used = quota->now.used,
                                           .used_seq = quota->now.used_seq};
    }
    return count;
}

/* The first RESTS_PER_PAGE of the rests were looked at. */
static void move_on(struct spot *spot, const struct counter_survey *survey)
{
    size_t looked = spot->rests_count < RESTS_PER_PAGE ? spot->rests_count : RESTS_PER_PAGE;
    size_t later = spot->rests_count - looked;
    struct counter_rest *rests = calloc(survey->rests_count + later + 1, sizeof(*rests));

    CHECK(rests);
    if (survey->rests_count > 0)
        memcpy(rests, survey->rests, survey->rests_count * sizeof(*rests));
    if (later > 0)
        memcpy(rests + survey->rests_count, spot->rests + looked, later * sizeof(*rests));
    free(spot->rests);
    spot->rests = rests;
    spot->rests_count = survey->rests_count + later;
    memcpy(spot->cursor, survey->cursor, sizeof(spot->cursor));
    if (spot->rests_count > 0 || strcmp(spot->cursor, "0") != 0)
        return;
    spot->done = !spot->again;
    spot->again = false;
}

static enum status compare(struct comparing *comparing, struct stores *stores,
                           const struct counter_survey *survey)
{
    struct loss_seen *seen = stores_scratch(stores, survey->quotas_count, sizeof(*seen));
    struct spot *spot = &comparing->spots[survey->call.view.shard];
    struct loss *losses;
    size_t found;
    enum status status;

    if (spot->epoch != 0 && spot->epoch != survey->call.view.epoch) {
        from_the_start(spot); /* cursors mean nothing to another Redis */
        return STATUS_OK;
    }
    status = stores->table->losses_find(stores->db, &stores->scratch, seen,
                                        seen_of(stores, survey, seen), &losses, &found);
    if (status != STATUS_OK && status != STATUS_CONFLICT && status != STATUS_CORRUPT)
        return status;
    comparing->found += found;
    spot->epoch = survey->call.view.epoch;
    spot->again |= status != STATUS_OK;
    move_on(spot, survey);
    return status;
}

/* A page of some shards. CANCELLED: Redis did not answer for some of them. */
static enum status look(struct comparing *comparing, struct stores *stores)
{
    struct counter_survey *surveys = stores_scratch(stores, SHARDS_PER_TURN, sizeof(*surveys));
    struct counter_call *calls[SHARDS_PER_TURN];
    enum recovery reason;
    size_t count = 0;
    enum status status = STATUS_OK;

    for (int shard = 0; shard < SHARDS && count < SHARDS_PER_TURN; shard++) {
        const struct spot *spot = &comparing->spots[shard];

        if (spot->done)
            continue;
        surveys[count] = (struct counter_survey){
            .call = {.kind = COUNTER_SURVEY, .view.shard = shard, .arena = &stores->scratch},
            .max = TENANTS_PER_PAGE,
            .quotas_max = QUOTAS_PER_PAGE,
            .rests = spot->rests,
            .rests_count = spot->rests_count < RESTS_PER_PAGE ? spot->rests_count : RESTS_PER_PAGE};
        memcpy(surveys[count].cursor, spot->cursor, sizeof(surveys[count].cursor));
        calls[count] = &surveys[count].call;
        count++;
    }
    if (count > 0 && !stores_run(stores, calls, count, &reason))
        status = STATUS_CANCELLED;
    for (size_t i = 0; i < count; i++)
        if (calls[i]->status == STATUS_OK && calls[i]->guard == GUARD_PASSED) {
            enum status compared = compare(comparing, stores, &surveys[i]);

            status = compared == STATUS_OK ? status : compared;
        }
    return status;
}

static size_t left(const struct comparing *comparing)
{
    size_t count = 0;

    for (int shard = 0; shard < SHARDS; shard++)
        count += !comparing->spots[shard].done;
    return count;
}

static enum duty_end end(struct comparing *comparing, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    enum status status;

    if (left(comparing) > 0)
        log_error("losses",
                  "root.not_compared shards=%zu: Redis or the database did not answer in time;"
                  " what was lost there is not found",
                  left(comparing));
    if (FAULT("losses.before_compared"))
        return DUTY_DONE;
    status = stores->table->history_compared(stores->db, &stores->scratch, comparing->system,
                                             comparing->timeline);
    if (status != STATUS_OK)
        return duty_failed(tools, "compared", status);
    log_info("losses", "root.compared losses=%zu", comparing->found);
    comparing->active = tools->news->uncompared = false;
    return DUTY_DONE;
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct comparing *comparing = own;
    struct stores *stores = tools->stores;
    enum status status;

    if (!tools->news->uncompared) {
        comparing->active = false; /* another server was faster */
        return DUTY_DONE;
    }
    if (!comparing->active || comparing->system != tools->news->system ||
        comparing->timeline != tools->news->timeline)
        begin(comparing, tools);
    status = look(comparing, stores);
    if (left(comparing) == 0 ||
        stores_mono_us(stores) - comparing->begun_us > COMPARE_MOST_MS * INT64_C(1000))
        return end(comparing, tools);
    if (status != STATUS_OK && status != STATUS_CANCELLED)
        return duty_failed(tools, "compare", status);
    return status == STATUS_OK ? DUTY_MORE : DUTY_DONE;
}

const struct duty duty_losses = {.name = "losses",
                                 .every_ms = COMPARE_EVERY_MS,
                                 .create = create,
                                 .destroy = destroy,
                                 .turn = turn};
