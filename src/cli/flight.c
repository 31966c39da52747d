#include "cli/flight.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"
#include "cli/arguments.h"
#include "cli/failure.h"
#include "cli/messages.h"

#include "holdfast/v1/quota_service.stub.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define JOB_ID_BYTES 256
#define WAIT_MIN_US INT64_C(100)
#define REPEAT_MIN_US INT64_C(20000)
#define REPEAT_MAX_US INT64_C(1000000)
#define PROGRESS_US INT64_C(500000)

enum phase { PHASE_RESERVE, PHASE_COMMIT, PHASE_RELEASE, PHASE_READ };

struct slot {
    struct flight *flight;
    struct slot *next; /* in idle or waiting */
    enum phase phase;
    size_t job;
    char job_id[JOB_ID_BYTES];
    char *reservation_id; /* NULL before it is reserved */
    size_t channel;
    int attempts; /* of the current call */
    int64_t sent_us;
    int64_t due_us; /* waiting: when to send again */
};

struct flight {
    const struct flight_options *options;
    struct flight_job *jobs;
    size_t jobs_count;
    struct slot *slots;
    pthread_mutex_t lock; /* guards everything below, and the outcomes of the jobs */
    pthread_cond_t wake;  /* the caller's thread: something is due sooner, or all is over */
    struct slot *idle;    /* have no job: none is due */
    struct slot *waiting; /* have a call to repeat */
    size_t next_job;
    int64_t start_us;
    struct flight_totals totals;
};

static void send_call(struct slot *slot);

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

static const char *tenant_of(const struct slot *slot)
{
    const struct flight_options *options = slot->flight->options;

    return options->tenants[slot->job % options->tenants_count];
}

static struct flight_job *job_of(const struct slot *slot)
{
    return &slot->flight->jobs[slot->job];
}

static int64_t due_us(const struct flight *flight, size_t job)
{
    if (flight->options->speed_up <= 0)
        return flight->start_us;
    return flight->start_us +
           (int64_t)((double)flight->jobs[job].at_us / flight->options->speed_up);
}

/* The lock is held. Gives the slot the next job if one is due, else parks it. */
static bool take_job(struct slot *slot)
{
    struct flight *flight = slot->flight;

    free(slot->reservation_id);
    slot->reservation_id = NULL;
    if (flight->next_job == flight->jobs_count || due_us(flight, flight->next_job) > now_us()) {
        slot->next = flight->idle;
        flight->idle = slot;
        return false;
    }
    slot->job = flight->next_job++;
    slot->attempts = 0;
    slot->phase = flight->options->mode == FLIGHT_READ ? PHASE_READ : PHASE_RESERVE;
    snprintf(slot->job_id, sizeof(slot->job_id), "%s%zu", flight->options->job_prefix, slot->job);
    return true;
}

/* The lock is held. Ends the slot's job and takes the next. */
static bool finish_job(struct slot *slot, enum job_outcome outcome)
{
    struct flight *flight = slot->flight;

    if (flight->options->mode == FLIGHT_SPEND)
        job_of(slot)->outcome = outcome;
    flight->totals.finished++;
    if (flight->totals.finished == (int64_t)flight->jobs_count)
        pthread_cond_signal(&flight->wake);
    return take_job(slot);
}

/* The lock is held. The call goes out again later, to the next server, or the job is given up. */
static bool handle_error(struct slot *slot, const struct stub_status *status)
{
    struct flight *flight = slot->flight;
    struct failure failure;
    bool transient, expired;
    int64_t pause_us;

    failure_read(status, &failure);
    transient = failure_is_transient(&failure);
    expired = strcmp(failure.reason, "EXPIRED") == 0;
    if (!transient || slot->attempts >= flight->options->retries_max)
        snprintf(flight->totals.last_error, sizeof(flight->totals.last_error), "%s%s%s: %s",
                 stub_code_name(failure.code), *failure.reason ? " " : "", failure.reason,
                 failure.message);
    failure_done(&failure);
    if (!transient || slot->attempts >= flight->options->retries_max) {
        flight->totals.failed++;
        flight->totals.expired += expired;
        return finish_job(slot, JOB_FAILED);
    }
    pause_us = REPEAT_MIN_US << (slot->attempts < 6 ? slot->attempts : 6);
    slot->attempts++;
    slot->channel++;
    flight->totals.retried++;
    slot->due_us = now_us() + (pause_us < REPEAT_MAX_US ? pause_us : REPEAT_MAX_US);
    slot->next = flight->waiting;
    flight->waiting = slot;
    return false;
}

static int64_t sum_committed(size_t count, Holdfast__V1__CommittedAmount *const *amounts)
{
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += amounts[i]->committed + amounts[i]->debt;
    return sum;
}

/* The lock is held. A record that is older than this flight does not count as its commit. */
static bool acknowledged(struct slot *slot, int64_t units, bool earlier)
{
    struct flight_totals *totals = &slot->flight->totals;

    job_of(slot)->acked_units = units;
    if (earlier)
        return finish_job(slot, JOB_EARLIER);
    totals->committed++;
    totals->committed_sum += units;
    return finish_job(slot, JOB_COMMITTED);
}

/* The lock is held. True if the slot has a call to send. */
static bool reserved(struct slot *slot, const Holdfast__V1__ReserveResponse *reply)
{
    struct flight_totals *totals = &slot->flight->totals;

    totals->reserve_answers++;
    totals->replayed += reply->replayed;
    switch ((int)reply->decision) {
    case HOLDFAST__V1__DECISION__DECISION_ALLOW:
    case HOLDFAST__V1__DECISION__DECISION_WARN:
        totals->reserved++;
        totals->reserved_sum += job_of(slot)->held_units;
        slot->reservation_id = strdup(reply->reservation_id);
        CHECK(slot->reservation_id);
        slot->attempts = 0;
        slot->phase = job_of(slot)->release ? PHASE_RELEASE : PHASE_COMMIT;
        return true;
    case HOLDFAST__V1__DECISION__DECISION_ALREADY_COMMITTED:
        totals->replayed += !reply->replayed;
        return acknowledged(slot, sum_committed(reply->n_committed, reply->committed), true);
    }
    totals->rejected++;
    return finish_job(slot, JOB_REJECTED);
}

static void on_reserved(void *user, const struct stub_status *status,
                        const Holdfast__V1__ReserveResponse *reply)
{
    struct slot *slot = user;
    struct flight *flight = slot->flight;
    bool more;

    pthread_mutex_lock(&flight->lock);
    if (status->code == STUB_OK) {
        histogram_add(&flight->totals.reserve_us, now_us() - slot->sent_us);
        more = reserved(slot, reply);
    } else {
        more = handle_error(slot, status);
    }
    pthread_mutex_unlock(&flight->lock);
    if (more)
        send_call(slot);
}

static void on_committed(void *user, const struct stub_status *status,
                         const Holdfast__V1__CommitResponse *reply)
{
    struct slot *slot = user;
    struct flight *flight = slot->flight;
    bool more;

    pthread_mutex_lock(&flight->lock);
    if (status->code == STUB_OK) {
        histogram_add(&flight->totals.commit_us, now_us() - slot->sent_us);
        flight->totals.commit_answers++;
        flight->totals.replayed += reply->replayed;
        flight->totals.expired += reply->late;
        /* Replayed at the first attempt: nobody of this flight can have recorded it. */
        more = acknowledged(slot, sum_committed(reply->n_committed, reply->committed),
                            reply->replayed && slot->attempts == 0);
    } else {
        more = handle_error(slot, status);
    }
    pthread_mutex_unlock(&flight->lock);
    if (more)
        send_call(slot);
}

static void on_released(void *user, const struct stub_status *status,
                        const Holdfast__V1__ReleaseResponse *reply)
{
    struct slot *slot = user;
    struct flight *flight = slot->flight;
    bool more;

    pthread_mutex_lock(&flight->lock);
    if (status->code == STUB_OK) {
        flight->totals.released++;
        flight->totals.replayed += reply->replayed;
        more = finish_job(slot, JOB_RELEASED);
    } else {
        more = handle_error(slot, status);
    }
    pthread_mutex_unlock(&flight->lock);
    if (more)
        send_call(slot);
}

static void on_read(void *user, const struct stub_status *status,
                    const Holdfast__V1__GetReservationResponse *reply)
{
    struct slot *slot = user;
    struct flight *flight = slot->flight;
    struct flight_job *job = job_of(slot);
    bool more;

    pthread_mutex_lock(&flight->lock);
    if (status->code == STUB_OK || status->code == STUB_NOT_FOUND) {
        const Holdfast__V1__Reservation *found = reply ? reply->reservation : NULL;

        job->read = true;
        job->recorded_units =
            found && found->state == HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED
                ? sum_committed(found->n_committed, found->committed)
                : -1;
        more = finish_job(slot, JOB_PENDING);
    } else {
        more = handle_error(slot, status);
    }
    pthread_mutex_unlock(&flight->lock);
    if (more)
        send_call(slot);
}

static void send_reserve(struct slot *slot, struct stub_channel *channel,
                         const struct stub_call_options *call)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts = &amount;
    Google__Protobuf__Duration ttl = duration_message(slot->flight->options->ttl_us);

    amount.meter = arguments_text(slot->flight->options->meter);
    amount.units = job_of(slot)->held_units;
    request.tenant = arguments_text(tenant_of(slot));
    request.job_id = slot->job_id;
    request.n_amounts = 1;
    request.amounts = &amounts;
    request.ttl = &ttl;
    request.brief = true;
    holdfast_v1_quota_service_reserve_async(channel, call, &request, on_reserved, slot);
}

static void send_commit(struct slot *slot, struct stub_channel *channel,
                        const struct stub_call_options *call)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    Holdfast__V1__ActualAmount actual = HOLDFAST__V1__ACTUAL_AMOUNT__INIT, *actuals = &actual;

    actual.meter = arguments_text(slot->flight->options->meter);
    actual.units = job_of(slot)->used_units;
    request.tenant = arguments_text(tenant_of(slot));
    request.job_id = slot->job_id;
    request.reservation_id = slot->reservation_id;
    request.n_actual = 1;
    request.actual = &actuals;
    request.brief = true;
    holdfast_v1_quota_service_commit_async(channel, call, &request, on_committed, slot);
}

static void send_release(struct slot *slot, struct stub_channel *channel,
                         const struct stub_call_options *call)
{
    Holdfast__V1__ReleaseRequest request = HOLDFAST__V1__RELEASE_REQUEST__INIT;

    request.tenant = arguments_text(tenant_of(slot));
    request.job_id = slot->job_id;
    request.reservation_id = slot->reservation_id;
    request.brief = true;
    holdfast_v1_quota_service_release_async(channel, call, &request, on_released, slot);
}

static void send_read(struct slot *slot, struct stub_channel *channel,
                      const struct stub_call_options *call)
{
    Holdfast__V1__GetReservationRequest request = HOLDFAST__V1__GET_RESERVATION_REQUEST__INIT;

    request.tenant = arguments_text(tenant_of(slot));
    request.job_id = slot->job_id;
    holdfast_v1_quota_service_get_reservation_async(channel, call, &request, on_read, slot);
}

/* Without the lock: if the call cannot be started, its callback runs in here. */
static void send_call(struct slot *slot)
{
    const struct flight_options *options = slot->flight->options;
    struct stub_channel *channel = options->channels[slot->channel % options->channels_count];
    const struct stub_call_options call = {.timeout_us = options->timeout_us};

    slot->sent_us = now_us();
    switch (slot->phase) {
    case PHASE_RESERVE:
        send_reserve(slot, channel, &call);
        break;
    case PHASE_COMMIT:
        send_commit(slot, channel, &call);
        break;
    case PHASE_RELEASE:
        send_release(slot, channel, &call);
        break;
    case PHASE_READ:
        send_read(slot, channel, &call);
        break;
    }
}

/* The lock is held. Takes one slot that has something to send now, or NULL. */
static struct slot *take_due(struct flight *flight)
{
    struct slot *slot = flight->idle;

    for (struct slot **at = &flight->waiting; *at; at = &(*at)->next) {
        if ((*at)->due_us <= now_us()) {
            struct slot *due = *at;

            *at = due->next;
            return due;
        }
    }
    if (!slot)
        return NULL;
    flight->idle = slot->next;
    return take_job(slot) ? slot : NULL; /* take_job parks it again */
}

/* The lock is held. When the caller's thread must look again, at the latest. */
static int64_t next_look_us(const struct flight *flight, int64_t progress_us)
{
    int64_t look_us = progress_us;

    for (const struct slot *slot = flight->waiting; slot; slot = slot->next) {
        if (slot->due_us < look_us)
            look_us = slot->due_us;
    }
    if (flight->idle && flight->next_job < flight->jobs_count) {
        int64_t job_us = due_us(flight, flight->next_job);

        if (job_us < look_us)
            look_us = job_us;
    }
    /* A callback may add an earlier repeat without waking this thread: look every 20 ms. */
    return look_us < now_us() + REPEAT_MIN_US ? look_us : now_us() + REPEAT_MIN_US;
}

static void wait_until(struct flight *flight, int64_t until_us)
{
    int64_t left_us = until_us - now_us();
    struct timespec at;

    if (left_us < WAIT_MIN_US)
        left_us = WAIT_MIN_US;
    at = thread_deadline(left_us);
    pthread_cond_timedwait(&flight->wake, &flight->lock, &at);
}

void flight_run(struct flight *flight)
{
    int64_t progress_us = now_us() + PROGRESS_US;

    pthread_mutex_lock(&flight->lock);
    flight->start_us = now_us();
    while (flight->totals.finished < (int64_t)flight->jobs_count) {
        struct slot *slot = take_due(flight);

        if (slot) {
            pthread_mutex_unlock(&flight->lock);
            send_call(slot);
            pthread_mutex_lock(&flight->lock);
            continue;
        }
        if (now_us() >= progress_us) {
            progress_us = now_us() + PROGRESS_US;
            pthread_mutex_unlock(&flight->lock);
            if (flight->options->progress)
                flight->options->progress(flight->options->user);
            pthread_mutex_lock(&flight->lock);
            continue;
        }
        wait_until(flight, next_look_us(flight, progress_us));
    }
    flight->totals.elapsed_us = now_us() - flight->start_us;
    pthread_mutex_unlock(&flight->lock);
}

void flight_totals(struct flight *flight, struct flight_totals *ret)
{
    pthread_mutex_lock(&flight->lock);
    *ret = flight->totals;
    if (ret->elapsed_us == 0)
        ret->elapsed_us = now_us() - flight->start_us;
    pthread_mutex_unlock(&flight->lock);
}

struct flight *flight_create(const struct flight_options *options, struct flight_job *jobs,
                             size_t jobs_count)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    pthread_condattr_t attributes;

    CHECK(flight && options->concurrency > 0);
    flight->options = options;
    flight->jobs = jobs;
    flight->jobs_count = jobs_count;
    flight->slots = calloc((size_t)options->concurrency, sizeof(*flight->slots));
    CHECK(flight->slots);
    pthread_mutex_init(&flight->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&flight->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int i = options->concurrency - 1; i >= 0; i--) {
        struct slot *slot = &flight->slots[i];

        slot->flight = flight;
        slot->channel = (size_t)i;
        slot->next = flight->idle;
        flight->idle = slot;
    }
    return flight;
}

void flight_destroy(struct flight *flight)
{
    if (!flight)
        return;
    for (int i = 0; i < flight->options->concurrency; i++)
        free(flight->slots[i].reservation_id);
    pthread_cond_destroy(&flight->wake);
    pthread_mutex_destroy(&flight->lock);
    free(flight->slots);
    free(flight);
}
