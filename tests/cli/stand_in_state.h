/*
 * The inside of the stand-in: its state, and what both of its services use.
 */
#ifndef HOLDFAST_TESTS_CLI_STAND_IN_STATE_H
#define HOLDFAST_TESTS_CLI_STAND_IN_STATE_H

#include "stand_in.h"

#include "holdfast/v1/admin_service.stub.h"
#include "holdfast/v1/quota_service.stub.h"
#include "stub/server.h"

#include <pthread.h>
#include <stdint.h>

#define TENANTS_MAX 16
#define LIMITS_MAX 8 /* of a tenant */
#define JOBS_MAX 4096
#define EVENTS_MAX 64
#define WATCHERS_MAX 32
#define NAME_BYTES 300

struct tenant {
    char name[NAME_BYTES];
    char display_name[NAME_BYTES];
    bool suspended;
    bool admit_unlimited_meters;
    int version;
};

struct limit {
    Holdfast__V1__Limit *stored;
    int version;
    int64_t committed, debt, held, rows;
    int level; /* stops that committed + debt has reached */
};

struct job {
    char tenant[NAME_BYTES];
    char id[NAME_BYTES];
    char meter[NAME_BYTES];
    int64_t held, actual;
    Holdfast__V1__ReservationState state;
};

struct event {
    char tenant[NAME_BYTES];
    int64_t seq;
    Holdfast__V1__EventKind kind;
    struct limit *limit;
    int64_t committed;
};

/* A slot; free when call is NULL. */
struct watcher {
    struct stub_call *call;
    char tenant[NAME_BYTES];
    int64_t seq; /* of the frame before */
};

/* All of it belongs to the one thread that serves, but for the switches under `lock`. */
struct stand_in {
    struct stub_server *server;
    pthread_t thread;
    char address[64];
    struct tenant tenants[TENANTS_MAX];
    size_t tenants_count;
    struct limit limits[TENANTS_MAX];
    size_t limits_count;
    struct job jobs[JOBS_MAX];
    size_t jobs_count;
    struct event events[EVENTS_MAX];
    size_t events_count;
    struct watcher watchers[WATCHERS_MAX];
    int64_t commits;
    pthread_mutex_t lock;
    int fail_count, fail_code;
    const char *fail_reason;
    int changes, changes_left, changes_code;
    const char *changes_reason, *refused_limit;
    int lose_nth, double_nth;
    bool break_streams;
};

extern const struct holdfast_v1_quota_service_handlers stand_in_quota_handlers;
extern const struct holdfast_v1_admin_service_handlers stand_in_admin_handlers;

/* protobuf-c wants char * where it only reads. */
char *text_of(const char *constant);

/* A page token or etag, which here is a number; "" is 0. */
int number_of(const char *text);

/* Answers with an ErrorInfo, and a BadRequest if a field is named. */
void fail_call(struct stub_call *call, int code, const char *reason, const char *field);

/* True if the call was failed on purpose. */
bool failed_on_purpose(struct stand_in *stand_in, struct stub_call *call);

/* NULL if there is none. A NULL meter or limit_id means any. */
struct tenant *find_tenant(struct stand_in *stand_in, const char *name);
struct limit *find_limit(struct stand_in *stand_in, const char *tenant, const char *meter,
                         const char *limit_id);

#endif
