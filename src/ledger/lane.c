#include "ledger/lane.h"

#include "base/stage.h"
#include "quota/times.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static bool has_nothing(const void *owner)
{
    const struct lane *lane = owner;

    return !lane->conn && lane->steps_count == 0;
}

static bool is_open(const void *owner)
{
    return ((const struct lane *)owner)->conn != NULL;
}

/* A round is under way: its last statement has been taken, and its sync has not come back. */
static bool waits_for_round(const void *owner)
{
    const struct lane *lane = owner;

    return lane->conn && lane->steps_count > 0 && !lane->synced && !lane->bad && !lane->exhausted &&
           lane->answer_by_us > 0;
}

static const struct stage_rule lane_rules[] = {
    [LANE_DOWN] = {"down", STAGE(LANE_IDLE) | STAGE(LANE_DOWN),
                   has_nothing}, /* closed twice: nothing */
    [LANE_IDLE] = {"idle", STAGE(LANE_BUSY) | STAGE(LANE_DOWN), is_open},
    [LANE_BUSY] = {"busy", STAGE(LANE_IDLE) | STAGE(LANE_DOWN), waits_for_round},
};
static const struct stage_table lane_stages = STAGE_TABLE("lane", lane_rules);

static void go(struct lane *lane, enum lane_state to)
{
    stage_step(&lane_stages, lane->state, to, lane);
    lane->state = to;
}

void lane_init(struct lane *lane, const struct session_options *options)
{
    *lane = (struct lane){.state = LANE_DOWN, .options = *options};
}

static void drop_results(struct lane *lane)
{
    for (size_t i = 0; i < lane->steps_count; i++) {
        PQclear(lane->results[i]);
        lane->results[i] = NULL;
    }
    lane->steps_count = 0;
    lane->step = 0;
}

void lane_close(struct lane *lane)
{
    drop_results(lane);
    if (lane->conn)
        PQfinish(lane->conn);
    lane->conn = NULL;
    go(lane, LANE_DOWN);
}

void lane_done(struct lane *lane)
{
    lane_close(lane);
}

static enum status prepare(struct lane *lane, const struct statement *statement)
{
    int64_t deadline_us = clock_mono_us(lane->options.clock) +
                          (int64_t)(lane->options.statement_timeout_ms + ANSWER_GRACE_MS) * 1000;
    enum status status = STATUS_UNAVAILABLE;
    PGresult *result;
    bool timeout;

    if (!PQsendPrepare(lane->conn, statement->name, statement->text, 0, NULL))
        return STATUS_UNAVAILABLE;
    while ((result = session_result(lane->conn, lane->options.clock, lane->options.stop,
                                    deadline_us, &timeout))) {
        status = session_status(result);
        if (status != STATUS_OK)
            session_copy_error(lane->error, PQresultErrorMessage(result));
        PQclear(result);
    }
    return status;
}

enum status lane_connect(struct lane *lane, const struct statement *const *statements, size_t count)
{
    enum status status;

    CHECK(lane->state == LANE_DOWN);
    status = session_open(&lane->options, &lane->conn, lane->error);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = prepare(lane, statements[i]);
    if (status == STATUS_OK && !PQenterPipelineMode(lane->conn))
        status = STATUS_UNAVAILABLE;
    if (status != STATUS_OK) {
        lane_close(lane);
        return status;
    }
    session_count_warnings(lane->conn, &lane->warnings);
    go(lane, LANE_IDLE);
    return STATUS_OK;
}

void lane_begin(struct lane *lane)
{
    CHECK(lane->state == LANE_IDLE);
    drop_results(lane);
    lane->bad = lane->exhausted = lane->synced = false;
    lane->sqlstate[0] = '\0';
    lane->warnings = 0;
}

size_t lane_add(struct lane *lane, const struct statement *statement, struct sql_params *params)
{
    struct sql_params none = {0};

    CHECK(lane->steps_count < LANE_STEPS_MAX);
    params = params ? params : &none;
    lane->steps[lane->steps_count] = statement;
    lane->results[lane->steps_count] = NULL;
    if (params->bad)
        lane->exhausted = true;
    else if (!lane->exhausted && !lane->bad && /* never a COMMIT without what belongs before it */
             !PQsendQueryPrepared(lane->conn, statement->name, params->count, params->values,
                                  params->lengths, params->formats, 1))
        lane->bad = true;
    return lane->steps_count++;
}

enum status lane_send(struct lane *lane)
{
    if (lane->exhausted) {
        snprintf(lane->error, sizeof(lane->error), "no memory left for the batch");
        lane_close(lane);
        return STATUS_EXHAUSTED;
    }
    if (lane->bad || !PQpipelineSync(lane->conn)) {
        enum status status = lane->bad ? STATUS_UNAVAILABLE : STATUS_UNKNOWN;

        session_copy_error(lane->error, PQerrorMessage(lane->conn));
        lane_close(lane);
        return status;
    }
    lane->sent_us = clock_mono_us(lane->options.clock);
    lane->answer_by_us =
        lane->sent_us + (int64_t)(lane->options.statement_timeout_ms + ANSWER_GRACE_MS) * 1000;
    go(lane, LANE_BUSY);
    return STATUS_OK;
}

void lane_hurry(struct lane *lane, int64_t answer_by_us)
{
    CHECK(lane->state == LANE_BUSY);
    if (answer_by_us < lane->answer_by_us)
        lane->answer_by_us = answer_by_us;
}

static enum lane_progress broken(struct lane *lane, const char *why)
{
    const char *message = PQerrorMessage(lane->conn);

    session_copy_error(lane->error, *message ? message : why);
    lane_close(lane);
    return LANE_BROKEN;
}

/* One result of the round. The first one of a step counts. */
static void keep(struct lane *lane, PGresult *result)
{
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        lane->synced = true;
        PQclear(result);
    } else if (lane->step < lane->steps_count && !lane->results[lane->step]) {
        lane->results[lane->step] = result;
    } else {
        PQclear(result);
    }
}

/* True: read what there is, the sync included or not. False: the connection is gone. */
static bool read_results(struct lane *lane)
{
    while (!lane->synced && !PQisBusy(lane->conn)) {
        PGresult *result = PQgetResult(lane->conn);

        if (result)
            keep(lane, result);
        else if (PQstatus(lane->conn) != CONNECTION_OK || lane->step++ > lane->steps_count)
            return false;
    }
    return PQstatus(lane->conn) == CONNECTION_OK;
}

enum lane_progress lane_advance(struct lane *lane)
{
    CHECK(lane->state == LANE_BUSY);
    stage_hold(&lane_stages, lane->state, lane);
    if (PQflush(lane->conn) < 0 || !PQconsumeInput(lane->conn) || !read_results(lane))
        return broken(lane, "the connection broke");
    if (lane->synced) {
        go(lane, LANE_IDLE);
        return LANE_ANSWERED;
    }
    if (clock_mono_us(lane->options.clock) > lane->answer_by_us)
        return broken(lane, "no answer in time");
    return LANE_PENDING;
}

void lane_idle(struct lane *lane)
{
    CHECK(lane->state == LANE_IDLE);
    if (!PQconsumeInput(lane->conn) || PQstatus(lane->conn) != CONNECTION_OK)
        (void)broken(lane, "the connection broke");
}

int lane_fd(const struct lane *lane)
{
    return lane->conn ? PQsocket(lane->conn) : -1;
}

bool lane_wants_write(const struct lane *lane)
{
    return lane->state == LANE_BUSY && PQflush(lane->conn) > 0;
}

static enum lane_cause cause_of(const PGresult *result)
{
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (code && strcmp(code, "23505") == 0)
        return LANE_DUPLICATE;
    if (code && strcmp(code, "55P03") == 0)
        return LANE_LOCK_TIMEOUT;
    return LANE_OTHER;
}

enum status lane_status(struct lane *lane, enum lane_cause *ret_cause)
{
    *ret_cause = LANE_OTHER;
    lane->failed_step = lane->steps_count;
    for (size_t i = 0; i < lane->steps_count; i++) {
        enum status status = session_status(lane->results[i]);

        if (status == STATUS_OK)
            continue;
        lane->failed_step = i;
        *ret_cause = cause_of(lane->results[i]);
        session_copy_error(lane->error, PQresultErrorMessage(lane->results[i]));
        session_copy_sqlstate(lane->sqlstate, lane->results[i]);
        return status;
    }
    return STATUS_OK;
}

size_t lane_failed_step(const struct lane *lane)
{
    return lane->failed_step;
}

PGresult *lane_take(struct lane *lane, size_t step)
{
    PGresult *result;

    CHECK(step < lane->steps_count);
    result = lane->results[step];
    lane->results[step] = NULL;
    return result;
}

int lane_warnings(const struct lane *lane)
{
    return lane->warnings;
}
