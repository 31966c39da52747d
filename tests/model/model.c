#include "model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

PRINTF_LIKE(2, 3) static bool complain(struct model *model, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(model->complaint, sizeof(model->complaint), format, args);
    va_end(args);
    return false;
}

static int64_t year_of(int64_t at)
{
    time_t second = (time_t)(at / 1000);
    struct tm tm;

    gmtime_r(&second, &tm);
    tm = (struct tm){.tm_year = tm.tm_year, .tm_mday = 1};
    return (int64_t)timegm(&tm) * 1000;
}

int64_t model_period(const struct model_limit *limit, int64_t at)
{
    const int64_t monday = INT64_C(345600000);

    if (limit->period_ms == MODEL_WEEK_MS)
        return at - (at - monday) % MODEL_WEEK_MS;
    if (limit->period_ms == MODEL_YEAR_MS)
        return year_of(at);
    return limit->period_ms ? at - at % limit->period_ms : 0;
}

bool model_counts(const struct model_limit *limit, const struct model_attempt *attempt)
{
    size_t len = strlen(limit->scope);

    return attempt->units[limit->meter] >= 0 && strncmp(attempt->scope, limit->scope, len) == 0 &&
           (len == 0 || attempt->scope[len] == '\0' || attempt->scope[len] == '/');
}

static struct model_record *record_of(struct model *model, int job)
{
    for (int i = 0; i < model->records_count; i++)
        if (model->records[i].job == job)
            return &model->records[i];
    return NULL;
}

bool model_is_recorded(const struct model *model, int job)
{
    for (int i = 0; i < model->records_count; i++)
        if (model->records[i].job == job)
            return true;
    return false;
}

static struct model_attempt *attempt_of(struct model *model, int job, int64_t seq)
{
    for (int i = 0; i < model->attempts_count; i++)
        if (model->attempts[i].job == job && model->attempts[i].seq == seq)
            return &model->attempts[i];
    return NULL;
}

static struct model_stop *stop_of(struct model *model, int limit, int64_t period)
{
    struct model_stop *stop = model->stops;

    while (stop < model->stops + model->stops_count &&
           (stop->limit != limit || stop->period != period))
        stop++;
    if (stop == model->stops + model->stops_count) {
        CHECK(model->stops_count < MODEL_STOPS_MAX);
        model->stops_count++;
        *stop = (struct model_stop){.limit = limit, .period = period};
    }
    return stop;
}

static void sum(const struct model *model, int limit, int64_t period, int64_t *committed,
                int64_t *debt, int64_t *count)
{
    *committed = *debt = *count = 0;
    for (int i = 0; i < model->lines_count; i++) {
        const struct model_line *line = &model->lines[i];

        if (line->limit != limit || line->period != period)
            continue;
        *committed += line->amount;
        *debt += line->debt;
        (*count)++;
    }
}

/* Units that live holds were promised of a quota: not released, not recorded, not past. */
static int64_t promised(const struct model *model, int limit, int64_t period)
{
    int64_t units = 0;

    for (int i = 0; i < model->attempts_count; i++) {
        const struct model_attempt *attempt = &model->attempts[i];

        if (attempt->deadline > model->now && !attempt->released &&
            model_counts(&model->limits[limit], attempt) &&
            model_period(&model->limits[limit], attempt->created) == period &&
            !model_is_recorded(model, attempt->job))
            units += attempt->units[model->limits[limit].meter];
    }
    return units;
}

bool model_reserve(struct model *model, const struct model_attempt *attempt, bool strict)
{
    CHECK(model->attempts_count < MODEL_ATTEMPTS_MAX);
    model->attempts[model->attempts_count++] = *attempt;
    for (int i = 0; i < MODEL_LIMITS; i++) {
        const struct model_limit *limit = &model->limits[i];
        int64_t period = model_period(limit, attempt->created);
        int64_t committed, debt, count, held;

        if (!model_counts(limit, attempt))
            continue;
        sum(model, i, period, &committed, &debt, &count);
        held = promised(model, i, period);
        if (committed + held > limit->cap_max)
            return complain(model,
                            "over-admission: job %d, limit %d: committed %" PRId64 " + held %" PRId64
                            " > cap %" PRId64,
                            attempt->job, i, committed, held, limit->cap_max);
        if (strict && attempt->units[limit->meter] > 0 && committed + debt + held > limit->cap)
            return complain(model,
                            "admitted over debt: job %d, limit %d: use %" PRId64 " + held %" PRId64
                            " > cap %" PRId64,
                            attempt->job, i, committed + debt, held, limit->cap);
    }
    return true;
}

void model_extend(struct model *model, int job, int64_t seq, int64_t deadline)
{
    struct model_attempt *attempt = attempt_of(model, job, seq);

    if (attempt->deadline < deadline)
        attempt->deadline = deadline;
}

static bool is_released(struct model *model, int job, int64_t seq)
{
    struct model_attempt *attempt = attempt_of(model, job, seq);

    return attempt && attempt->released;
}

static bool released_later(const struct model *model, int job, int64_t seq)
{
    for (int i = 0; i < model->attempts_count; i++)
        if (model->attempts[i].job == job && model->attempts[i].released &&
            model->attempts[i].seq > seq)
            return true;
    return false;
}

static struct model_seen newest(const struct model *model, int job, struct model_seen live,
                                struct model_seen expired)
{
    if (live.seq)
        return live;
    if (expired.seq && !released_later(model, job, expired.seq))
        return expired;
    return (struct model_seen){0, 0};
}

/* A room is what the cap leaves beside use and what is lent; below zero there is none. */
static int64_t room_of(struct model *model, const struct model_commit *commit, int limit,
                       int64_t period, int64_t own)
{
    int64_t committed, debt, count, room;

    sum(model, limit, period, &committed, &debt, &count);
    room = model->limits[limit].cap - committed - debt -
           commit->lent(commit->world, limit, period, own);
    return room > 0 ? room : 0;
}

static int64_t booked_period(struct model *model, int limit, int64_t created)
{
    int64_t period = model_period(&model->limits[limit], created);

    if (stop_of(model, limit, period)->closed)
        return model_period(&model->limits[limit], model->now);
    return period;
}

static struct model_answer book(struct model *model, const struct model_commit *commit,
                                const struct model_attempt *attempt, struct model_record record,
                                bool own)
{
    struct model_answer answer = {.outcome = SETTLE_COMMITTED, .late = record.late};

    for (int i = 0; i < MODEL_LIMITS; i++) {
        const struct model_limit *limit = &model->limits[i];
        int64_t period = booked_period(model, i, attempt->created);
        int64_t total = record.amount[limit->meter];
        int64_t promise = own ? attempt->units[limit->meter] : 0;
        int64_t excess = total > promise ? total - promise : 0;
        int64_t debt;

        if (!model_counts(limit, attempt))
            continue;
        debt = excess - room_of(model, commit, i, period, own ? attempt->seq : 0);
        debt = debt > 0 ? debt : 0;
        CHECK(model->lines_count < MODEL_LINES_MAX);
        model->lines[model->lines_count++] = (struct model_line){i, period, total - debt, debt};
        if (debt > record.debt[limit->meter])
            record.debt[limit->meter] = debt;
    }
    for (int meter = 0; meter < MODEL_METERS; meter++) {
        answer.debt[meter] = record.debt[meter];
        answer.amount[meter] = record.amount[meter] -= record.debt[meter];
    }
    CHECK(model->records_count < MODEL_RECORDS_MAX);
    model->records[model->records_count++] = record;
    return answer;
}

/* A late attempt that keeps what it held: on every quota it counts against. */
static bool has_own(struct model *model, const struct model_commit *commit,
                    const struct model_attempt *attempt)
{
    for (int i = 0; i < MODEL_LIMITS; i++)
        if (model_counts(&model->limits[i], attempt) &&
            !commit->own(commit->world, i, attempt->seq))
            return false;
    return true;
}

static struct model_answer decide(struct model *model, const struct model_commit *commit,
                                  const struct model_attempt *attempt, bool late)
{
    struct model_record record = {.job = commit->job, .late = late};
    struct model_answer answer = {.outcome = SETTLE_UNDECIDED};
    bool own = !late || has_own(model, commit, attempt);

    for (int meter = 0; meter < MODEL_METERS; meter++) {
        int64_t held = attempt->units[meter];
        int64_t actual = commit->given && held >= 0 ? commit->actual[meter] : held;
        int64_t promise = !own || held < 0 ? 0 : held;
        int64_t excess = actual > promise ? actual - promise : 0;
        int64_t fits = excess;
        bool recall = false;

        record.held[meter] = held;
        record.asked[meter] = actual;
        for (int i = 0; i < MODEL_LIMITS; i++) {
            int64_t period = booked_period(model, i, attempt->created);
            int64_t room;

            if (model->limits[i].meter != meter || !model_counts(&model->limits[i], attempt))
                continue;
            room = room_of(model, commit, i, period, own ? attempt->seq : 0);
            if (room >= excess)
                continue;
            fits = room < fits ? room : fits;
            recall |= commit->lent(commit->world, i, period, own ? attempt->seq : 0) >
                      (excess > 0 ? promise : 0);
        }
        if (recall && !commit->recall_done)
            answer.outcome = SETTLE_WANTS_RECALL;
        else if (fits < excess && commit->given && commit->overrun[meter] == OVERRUN_STRICT)
            answer.outcome = SETTLE_OVERRUN;
        if (answer.outcome != SETTLE_UNDECIDED)
            return answer;
        if (commit->given && commit->overrun[meter] == OVERRUN_CAP && fits < excess)
            actual -= excess - fits;
        record.amount[meter] = actual;
    }
    return book(model, commit, attempt, record, own);
}

static struct model_answer repeat(const struct model_commit *commit,
                                  const struct model_record *record)
{
    bool same = !commit->malformed || !commit->given;

    for (int meter = 0; meter < MODEL_METERS; meter++)
        same &= record->asked[meter] ==
                (commit->given ? commit->actual[meter] : record->held[meter]);
    return (struct model_answer){.outcome = same ? SETTLE_COMMITTED : SETTLE_MISMATCH,
                                 .replayed = same, .late = record->late};
}

/* By the job alone, and nobody can know which attempt is the newest. */
static bool is_unsure(const struct model_commit *commit)
{
    return !commit->token.seq && !commit->live.seq &&
           (!commit->asked || (commit->expired.seq && commit->lost));
}

struct model_answer model_commit(struct model *model, const struct model_commit *commit)
{
    struct model_record *record = record_of(model, commit->job);
    struct model_seen seen = commit->token;
    int64_t past;

    if (record)
        return repeat(commit, record);
    if (is_unsure(commit))
        return (struct model_answer){.outcome = SETTLE_WHICH_HOLD};
    if (!seen.seq)
        seen = newest(model, commit->job, commit->live, commit->expired);
    else if (seen.deadline <= model->now && commit->live.seq &&
             !is_released(model, commit->job, seen.seq) &&
             !is_released(model, commit->job, commit->live.seq))
        seen = commit->live;
    if (!seen.seq)
        return (struct model_answer){.outcome = released_later(model, commit->job, 0)
                                                    ? SETTLE_WAS_RELEASED
                                                    : SETTLE_UNKNOWN_JOB};
    if (is_released(model, commit->job, seen.seq))
        return (struct model_answer){.outcome = SETTLE_WAS_RELEASED};
    if (seen.deadline <= model->now && seen.deadline > commit->looked_up &&
        (commit->token.seq || commit->live.seq))
        return (struct model_answer){.outcome = SETTLE_WANTS_LOOKUP};
    if (commit->given && commit->malformed)
        return (struct model_answer){.outcome = SETTLE_BAD_METERS};
    past = model->now - seen.deadline;
    if (past > MODEL_LATE_WINDOW_MS)
        return (struct model_answer){.outcome = SETTLE_EXPIRED};
    return decide(model, commit, attempt_of(model, commit->job, seen.seq), past >= 0);
}

struct model_answer model_release(struct model *model, const struct model_commit *release)
{
    struct model_seen seen = release->token;
    int job = release->job;
    struct model_answer answer = {.outcome = SETTLE_RELEASED};

    if (!seen.seq)
        seen = newest(model, job, release->live, release->expired);
    if (record_of(model, job))
        answer.outcome = SETTLE_WAS_COMMITTED;
    else if (is_unsure(release))
        answer.outcome = SETTLE_WHICH_HOLD;
    else if (!seen.seq && !released_later(model, job, 0))
        answer.outcome = SETTLE_UNKNOWN_JOB;
    else if (!seen.seq || is_released(model, job, seen.seq))
        answer.replayed = true;
    else
        attempt_of(model, job, seen.seq)->released = true;
    return answer;
}

bool model_counted(struct model *model, int limit, int64_t period, int64_t amount, int64_t debt,
                   int64_t ledger_seq)
{
    const struct model_line *last = NULL;
    int64_t committed, all_debt, count;

    sum(model, limit, period, &committed, &all_debt, &count);
    for (int i = 0; i < model->lines_count; i++)
        if (model->lines[i].limit == limit && model->lines[i].period == period)
            last = &model->lines[i];
    if (last && last->amount == amount && last->debt == debt && count == ledger_seq)
        return true;
    return complain(model, "limit %d counts %" PRId64 " and debt %" PRId64 " as number %" PRId64,
                    limit, amount, debt, ledger_seq);
}

void model_closed(struct model *model, int limit, int64_t period)
{
    stop_of(model, limit, period)->closed = true;
}

static int64_t stop_at(const struct model_limit *limit, int stop)
{
    return stop == 0 ? limit->soft : stop == 1 ? limit->amount : limit->cap;
}

/* 2 % of the limit below the stop, in hundredths so that nothing is rounded. */
static bool fell(const struct model_limit *limit, int stop, int64_t use)
{
    return use == 0 || (stop_at(limit, stop) - use) * 100 > limit->amount * 2;
}

bool model_event(struct model *model, int limit, int64_t period, int stop, bool up)
{
    struct model_stop *state = stop_of(model, limit, period);
    int64_t committed, debt, count;

    sum(model, limit, period, &committed, &debt, &count);
    if (state->up[stop] == up)
        return complain(model, "limit %d: stop %d crossed twice the same way", limit, stop);
    state->up[stop] = up;
    if (up ? committed + debt < stop_at(&model->limits[limit], stop)
           : !fell(&model->limits[limit], stop, committed + debt))
        return complain(model, "limit %d: stop %d said to be crossed at use %" PRId64, limit, stop,
                        committed + debt);
    return true;
}

bool model_quota(struct model *model, int at, int64_t period, int64_t committed, int64_t debt,
                 int64_t leased, int64_t ledger_seq)
{
    const struct model_limit *limit = &model->limits[at];
    const struct model_stop *state = stop_of(model, at, period);
    int64_t lines_committed, lines_debt, lines_count;
    int64_t held = promised(model, at, period);

    sum(model, at, period, &lines_committed, &lines_debt, &lines_count);
    if (committed != lines_committed || debt != lines_debt || ledger_seq != lines_count)
        return complain(model,
                        "limit %d: row says committed %" PRId64 " debt %" PRId64 " seq %" PRId64
                        ", its ledger %" PRId64 " %" PRId64 " %" PRId64,
                        at, committed, debt, ledger_seq, lines_committed, lines_debt, lines_count);
    if (held > leased)
        return complain(model, "limit %d: %" PRId64 " promised, only %" PRId64 " set aside", at,
                        held, leased);
    if (committed + leased > limit->cap_max)
        return complain(model, "limit %d: committed %" PRId64 " + leased %" PRId64 " > cap", at,
                        committed, leased);
    for (int stop = 0; stop < 3 && !limit->unlimited; stop++)
        if (state->up[stop] ? fell(limit, stop, committed + debt)
                            : committed + debt >= stop_at(limit, stop))
            return complain(model, "limit %d: crossing of stop %d is missing at use %" PRId64, at,
                            stop, committed + debt);
    return true;
}
