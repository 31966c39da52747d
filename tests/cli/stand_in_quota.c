/*
 * QuotaService of the stand-in.
 */
#include "stand_in_state.h"

#include <stdio.h>
#include <string.h>

/* By job id, or by a token, which here is "token:" and the job id. */
static struct job *find_job(struct stand_in *stand_in, const char *tenant, const char *id,
                            const char *token)
{
    for (size_t i = stand_in->jobs_count; i > 0; i--) {
        struct job *job = &stand_in->jobs[i - 1];

        if (*id ? strcmp(job->id, id) == 0 && strcmp(job->tenant, tenant) == 0
                : *token && strcmp(job->id, token + strlen("token:")) == 0)
            return job;
    }
    return NULL;
}

static int64_t cap_of(const Holdfast__V1__Limit *limit)
{
    if (limit->bound_case != HOLDFAST__V1__LIMIT__BOUND_UNITS)
        return INT64_MAX / 4;
    if (limit->overage_case == HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT)
        return limit->units + limit->units * limit->overage_percent / 100;
    return limit->units;
}

static void fill_quota(const struct limit *limit, Holdfast__V1__QuotaState *ret)
{
    const Holdfast__V1__Limit *stored = limit->stored;

    holdfast__v1__quota_state__init(ret);
    ret->limit_id = stored->limit_id;
    ret->scope = stored->scope;
    ret->meter = stored->meter;
    ret->period = stored->period;
    ret->committed = limit->committed;
    ret->debt = limit->debt;
    ret->held = limit->held;
    ret->ledger_seq = limit->rows;
    ret->level = HOLDFAST__V1__LEVEL__LEVEL_OK;
    if (stored->bound_case == HOLDFAST__V1__LIMIT__BOUND_UNITS) {
        ret->bound_case = HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT;
        ret->limit = stored->units;
        ret->hard_cap = cap_of(stored);
        ret->soft_stop = (stored->units * 90 + 99) / 100;
        ret->room_case = HOLDFAST__V1__QUOTA_STATE__ROOM_REMAINING;
        ret->remaining = ret->hard_cap - limit->committed - limit->debt - limit->held;
    } else {
        ret->bound_case = HOLDFAST__V1__QUOTA_STATE__BOUND_UNLIMITED;
        ret->unlimited = true;
    }
}

static void reply_held(struct stub_call *call, const struct job *job, const struct limit *limit,
                       bool replayed)
{
    Holdfast__V1__ReserveResponse reply = HOLDFAST__V1__RESERVE_RESPONSE__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts = &amount;
    Google__Protobuf__Timestamp expiry = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Duration left = GOOGLE__PROTOBUF__DURATION__INIT;
    Holdfast__V1__QuotaState quota, *quotas = &quota;
    char token[NAME_BYTES + 8];

    snprintf(token, sizeof(token), "token:%s", job->id);
    amount.meter = text_of(job->meter);
    amount.units = job->held;
    expiry.seconds = 1800000000;
    left.seconds = 60;
    fill_quota(limit, &quota);
    reply.decision = HOLDFAST__V1__DECISION__DECISION_ALLOW;
    reply.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD;
    reply.attempt = text_of("1.1");
    reply.reservation_id = token;
    reply.replayed = replayed;
    reply.n_granted = 1;
    reply.granted = &amounts;
    reply.expire_time = &expiry;
    reply.remaining_ttl = &left;
    reply.quotas = &quotas;
    reply.n_quotas = 1;
    holdfast_v1_quota_service_reserve_reply(call, &reply);
}

static void reply_not_held(struct stub_call *call, const struct job *job, const struct limit *limit)
{
    Holdfast__V1__ReserveResponse reply = HOLDFAST__V1__RESERVE_RESPONSE__INIT;
    Holdfast__V1__CommittedAmount amount = HOLDFAST__V1__COMMITTED_AMOUNT__INIT, *amounts = &amount;
    Google__Protobuf__Duration wait = GOOGLE__PROTOBUF__DURATION__INIT;
    Holdfast__V1__Reason reason = HOLDFAST__V1__REASON__INIT, *reasons = &reason;

    if (job) {
        reply.decision = HOLDFAST__V1__DECISION__DECISION_ALREADY_COMMITTED;
        amount.meter = text_of(job->meter);
        amount.actual = amount.committed = job->actual;
        reply.committed = &amounts;
        reply.n_committed = 1;
    } else {
        wait.seconds = 40;
        reason.code = HOLDFAST__V1__REASON_CODE__REASON_CODE_HARD_CAP;
        reason.limit_id = limit->stored->limit_id;
        reason.message = text_of("940 used + 160 held + 60 > 1100");
        reason.retry_after = &wait;
        reply.decision = HOLDFAST__V1__DECISION__DECISION_REJECT;
        reply.reasons = &reasons;
        reply.n_reasons = 1;
        reply.retry_after = &wait;
    }
    holdfast_v1_quota_service_reserve_reply(call, &reply);
}

static void reserve(void *user, struct stub_call *call, const Holdfast__V1__ReserveRequest *request)
{
    struct stand_in *stand_in = user;
    struct limit *limit;
    struct job *job;

    if (failed_on_purpose(stand_in, call))
        return;
    if (!find_tenant(stand_in, request->tenant)) {
        fail_call(call, STUB_NOT_FOUND, "UNKNOWN_TENANT", NULL);
        return;
    }
    if (request->n_amounts != 1 || request->amounts[0]->units < 0) {
        fail_call(call, STUB_INVALID_ARGUMENT, "INVALID_FIELD", "amounts[0].units");
        return;
    }
    limit = find_limit(stand_in, request->tenant, request->amounts[0]->meter, NULL);
    if (!limit) {
        fail_call(call, STUB_FAILED_PRECONDITION, "NO_LIMIT", NULL);
        return;
    }
    job = find_job(stand_in, request->tenant, request->job_id, "");
    if (job && job->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED) {
        reply_not_held(call, job, limit);
    } else if (job && job->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD) {
        reply_held(call, job, limit, true);
    } else if (limit->committed + limit->debt + limit->held + request->amounts[0]->units >
                   cap_of(limit->stored) ||
               stand_in->jobs_count == JOBS_MAX) {
        reply_not_held(call, NULL, limit);
    } else {
        job = &stand_in->jobs[stand_in->jobs_count++];
        snprintf(job->tenant, NAME_BYTES, "%s", request->tenant);
        snprintf(job->id, NAME_BYTES, "%s", request->job_id);
        snprintf(job->meter, NAME_BYTES, "%s", request->amounts[0]->meter);
        job->held = request->amounts[0]->units;
        job->state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD;
        limit->held += job->held;
        reply_held(call, job, limit, false);
    }
}

static void end_stream(struct watcher *watcher)
{
    struct stub_call *call = watcher->call;

    watcher->call = NULL;
    stub_call_finish(call);
}

/* The client is gone, or the stream was ended. */
static void on_closed(void *user)
{
    struct watcher *watcher = user;

    if (watcher->call)
        end_stream(watcher);
}

/* False: the stream is to end after this frame. */
static bool send_event(struct stand_in *stand_in, struct watcher *watcher, const struct event *from)
{
    Holdfast__V1__WatchResponse frame = HOLDFAST__V1__WATCH_RESPONSE__INIT;
    Holdfast__V1__Event event = HOLDFAST__V1__EVENT__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Holdfast__V1__QuotaState quota;
    bool good;

    fill_quota(from->limit, &quota);
    quota.committed = from->committed;
    time.seconds = 1800000000;
    event.seq = frame.seq = from->seq;
    event.kind = from->kind;
    event.direction = HOLDFAST__V1__DIRECTION__DIRECTION_UP;
    event.basis = HOLDFAST__V1__BASIS__BASIS_COMMITTED;
    event.tenant = text_of(from->tenant);
    event.quota = &quota;
    event.time = &time;
    event.job_id = text_of("job-x");
    frame.prev_seq = watcher->seq;
    frame.frame_case = HOLDFAST__V1__WATCH_RESPONSE__FRAME_EVENT;
    frame.event = &event;
    watcher->seq = from->seq;
    good = holdfast_v1_quota_service_watch_send(watcher->call, &frame) == STUB_SEND_OK;
    pthread_mutex_lock(&stand_in->lock);
    good = good && !stand_in->break_streams;
    pthread_mutex_unlock(&stand_in->lock);
    return good;
}

static void add_event(struct stand_in *stand_in, struct limit *limit, Holdfast__V1__EventKind kind)
{
    struct event *event;

    if (stand_in->events_count == EVENTS_MAX)
        return;
    event = &stand_in->events[stand_in->events_count++];
    snprintf(event->tenant, NAME_BYTES, "%s", limit->stored->tenant);
    event->seq = (int64_t)stand_in->events_count;
    event->kind = kind;
    event->limit = limit;
    event->committed = limit->committed;
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        struct watcher *watcher = &stand_in->watchers[i];

        if (watcher->call && strcmp(watcher->tenant, event->tenant) == 0 &&
            !send_event(stand_in, watcher, event))
            end_stream(watcher);
    }
}

static void cross(struct stand_in *stand_in, struct limit *limit)
{
    const Holdfast__V1__Limit *stored = limit->stored;
    const struct {
        int64_t stop;
        Holdfast__V1__EventKind kind;
    } stops[] = {
        {(stored->units * 90 + 99) / 100, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_SOFT_STOP},
        {stored->units, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_STOP},
        {cap_of(stored), HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_CAP},
    };

    if (stored->bound_case != HOLDFAST__V1__LIMIT__BOUND_UNITS)
        return;
    while (limit->level < 3 && limit->committed + limit->debt >= stops[limit->level].stop)
        add_event(stand_in, limit, stops[limit->level++].kind);
}

/* Records the commit, or does not, as told. */
static void record(struct stand_in *stand_in, struct job *job, struct limit *limit, int64_t units)
{
    bool lose, twice;

    stand_in->commits++;
    pthread_mutex_lock(&stand_in->lock);
    lose = stand_in->lose_nth && stand_in->commits % stand_in->lose_nth == 0;
    twice = stand_in->double_nth && stand_in->commits % stand_in->double_nth == 0;
    pthread_mutex_unlock(&stand_in->lock);
    limit->held -= job->held;
    job->actual = units;
    if (lose) {
        job->state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_EXPIRED;
        return;
    }
    job->state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED;
    limit->committed += twice ? 2 * units : units;
    limit->rows += twice ? 2 : 1;
    cross(stand_in, limit);
}

static void commit(void *user, struct stub_call *call, const Holdfast__V1__CommitRequest *request)
{
    Holdfast__V1__CommitResponse reply = HOLDFAST__V1__COMMIT_RESPONSE__INIT;
    Holdfast__V1__CommittedAmount amount = HOLDFAST__V1__COMMITTED_AMOUNT__INIT, *amounts = &amount;
    struct stand_in *stand_in = user;
    struct job *job = find_job(stand_in, request->tenant, request->job_id, request->reservation_id);

    if (failed_on_purpose(stand_in, call))
        return;
    if (!job) {
        fail_call(call, STUB_NOT_FOUND, "UNKNOWN_JOB", NULL);
        return;
    }
    if (job->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD)
        record(stand_in, job, find_limit(stand_in, job->tenant, job->meter, NULL),
               request->n_actual ? request->actual[0]->units : job->held);
    else
        reply.replayed = true;
    amount.meter = job->meter;
    amount.actual = amount.committed = job->actual;
    amount.freed = job->held > job->actual ? job->held - job->actual : 0;
    reply.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED;
    reply.committed = &amounts;
    reply.n_committed = 1;
    reply.attempt = text_of("1.1");
    holdfast_v1_quota_service_commit_reply(call, &reply);
}

static void release(void *user, struct stub_call *call, const Holdfast__V1__ReleaseRequest *request)
{
    Holdfast__V1__ReleaseResponse reply = HOLDFAST__V1__RELEASE_RESPONSE__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts = &amount;
    struct stand_in *stand_in = user;
    struct job *job = find_job(stand_in, request->tenant, request->job_id, request->reservation_id);

    if (failed_on_purpose(stand_in, call))
        return;
    if (!job || job->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED) {
        fail_call(call, job ? STUB_FAILED_PRECONDITION : STUB_NOT_FOUND,
             job ? "COMMITTED" : "UNKNOWN_JOB", NULL);
        return;
    }
    if (job->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD) {
        find_limit(stand_in, job->tenant, job->meter, NULL)->held -= job->held;
        amount.meter = job->meter;
        amount.units = job->held;
        reply.freed = &amounts;
        reply.n_freed = 1;
    } else {
        reply.replayed = true;
    }
    job->state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_RELEASED;
    reply.state = job->state;
    reply.attempt = text_of("1.1");
    holdfast_v1_quota_service_release_reply(call, &reply);
}

static void extend(void *user, struct stub_call *call, const Holdfast__V1__ExtendRequest *request)
{
    Holdfast__V1__ExtendResponse reply = HOLDFAST__V1__EXTEND_RESPONSE__INIT;
    struct job *job = find_job(user, request->tenant, request->job_id, request->reservation_id);

    if (!job || job->state != HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD) {
        fail_call(call, STUB_FAILED_PRECONDITION, "EXPIRED", NULL);
        return;
    }
    reply.attempt = text_of("1.1");
    reply.remaining_ttl = request->ttl;
    reply.reservation_id = text_of("token:new");
    holdfast_v1_quota_service_extend_reply(call, &reply);
}

static void check(void *user, struct stub_call *call, const Holdfast__V1__CheckRequest *request)
{
    Holdfast__V1__CheckResponse reply = HOLDFAST__V1__CHECK_RESPONSE__INIT;
    struct limit *limit = find_limit(user, request->tenant, request->amounts[0]->meter, NULL);
    Holdfast__V1__QuotaState quota, *quotas = &quota;

    fill_quota(limit, &quota);
    reply.quotas = &quotas;
    reply.n_quotas = 1;
    reply.decision = limit->committed + limit->held + request->amounts[0]->units >
                             cap_of(limit->stored)
                         ? HOLDFAST__V1__DECISION__DECISION_REJECT
                         : HOLDFAST__V1__DECISION__DECISION_WARN;
    holdfast_v1_quota_service_check_reply(call, &reply);
}

static void watch(void *user, struct stub_call *call, const Holdfast__V1__WatchRequest *request)
{
    Holdfast__V1__WatchResponse frame = HOLDFAST__V1__WATCH_RESPONSE__INIT;
    Holdfast__V1__Snapshot snapshot = HOLDFAST__V1__SNAPSHOT__INIT;
    Holdfast__V1__QuotaState quota, *quotas = &quota;
    struct stand_in *stand_in = user;
    struct limit *limit = find_limit(stand_in, request->tenant, NULL, NULL);
    struct watcher *watcher = stand_in->watchers;
    bool resume = request->start_case == HOLDFAST__V1__WATCH_REQUEST__START_AFTER_SEQ;

    while (watcher < stand_in->watchers + WATCHERS_MAX && watcher->call)
        watcher++;
    if (!limit || watcher == stand_in->watchers + WATCHERS_MAX) {
        fail_call(call, STUB_NOT_FOUND, "UNKNOWN_TENANT", NULL);
        return;
    }
    watcher->call = call;
    snprintf(watcher->tenant, NAME_BYTES, "%s", request->tenant);
    watcher->seq = resume ? request->after_seq : (int64_t)stand_in->events_count;
    stub_call_on_closed(call, on_closed, watcher);
    if (!resume) {
        fill_quota(limit, &quota);
        snapshot.quotas = &quotas;
        snapshot.n_quotas = 1;
        frame.seq = (int64_t)stand_in->events_count;
        frame.frame_case = HOLDFAST__V1__WATCH_RESPONSE__FRAME_SNAPSHOT;
        frame.snapshot = &snapshot;
        holdfast_v1_quota_service_watch_send(call, &frame);
        return;
    }
    for (size_t i = (size_t)request->after_seq; i < stand_in->events_count; i++) {
        if (strcmp(watcher->tenant, stand_in->events[i].tenant) == 0 &&
            !send_event(stand_in, watcher, &stand_in->events[i])) {
            end_stream(watcher);
            return;
        }
    }
}

static void get_reservation(void *user, struct stub_call *call,
                            const Holdfast__V1__GetReservationRequest *request)
{
    Holdfast__V1__GetReservationResponse reply = HOLDFAST__V1__GET_RESERVATION_RESPONSE__INIT;
    Holdfast__V1__Reservation reservation = HOLDFAST__V1__RESERVATION__INIT;
    Holdfast__V1__CommittedAmount amount = HOLDFAST__V1__COMMITTED_AMOUNT__INIT, *amounts = &amount;
    struct job *job = find_job(user, request->tenant, request->job_id, request->reservation_id);

    if (failed_on_purpose(user, call))
        return;
    if (!job) {
        fail_call(call, STUB_NOT_FOUND, "UNKNOWN_JOB", NULL);
        return;
    }
    reservation.tenant = job->tenant;
    reservation.job_id = job->id;
    reservation.state = job->state;
    amount.meter = job->meter;
    amount.actual = amount.committed = job->actual;
    reservation.committed = &amounts;
    reservation.n_committed =
        job->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED ? 1 : 0;
    reply.reservation = &reservation;
    holdfast_v1_quota_service_get_reservation_reply(call, &reply);
}

/* One hold a page, so that paging is seen to work. */
static void list_reservations(void *user, struct stub_call *call,
                              const Holdfast__V1__ListReservationsRequest *request)
{
    Holdfast__V1__ListReservationsResponse reply = HOLDFAST__V1__LIST_RESERVATIONS_RESPONSE__INIT;
    Holdfast__V1__Reservation reservation = HOLDFAST__V1__RESERVATION__INIT, *found = &reservation;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts = &amount;
    struct stand_in *stand_in = user;
    char token[32];

    for (size_t i = (size_t)number_of(request->page_token); i < stand_in->jobs_count; i++) {
        struct job *job = &stand_in->jobs[i];

        if (job->state != HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD)
            continue;
        snprintf(token, sizeof(token), "%zu", i + 1);
        reservation.job_id = job->id;
        reservation.tenant = job->tenant;
        amount.meter = job->meter;
        amount.units = job->held;
        reservation.held = &amounts;
        reservation.n_held = 1;
        reply.reservations = &found;
        reply.n_reservations = 1;
        reply.next_page_token = token;
        break;
    }
    holdfast_v1_quota_service_list_reservations_reply(call, &reply);
}

static void get_usage(void *user, struct stub_call *call,
                      const Holdfast__V1__GetUsageRequest *request)
{
    Holdfast__V1__GetUsageResponse reply = HOLDFAST__V1__GET_USAGE_RESPONSE__INIT;
    Holdfast__V1__QuotaState quotas[TENANTS_MAX], *pointers[TENANTS_MAX];
    struct stand_in *stand_in = user;

    for (size_t i = 0; i < stand_in->limits_count; i++) {
        if (strcmp(stand_in->limits[i].stored->tenant, request->tenant) != 0)
            continue;
        fill_quota(&stand_in->limits[i], &quotas[reply.n_quotas]);
        pointers[reply.n_quotas] = &quotas[reply.n_quotas];
        reply.n_quotas++;
    }
    reply.quotas = pointers;
    reply.event_seq = (int64_t)stand_in->events_count;
    holdfast_v1_quota_service_get_usage_reply(call, &reply);
}

const struct holdfast_v1_quota_service_handlers stand_in_quota_handlers = {
    .reserve = reserve,
    .commit = commit,
    .release = release,
    .extend = extend,
    .check = check,
    .watch = watch,
    .get_reservation = get_reservation,
    .list_reservations = list_reservations,
    .get_usage = get_usage,
};
