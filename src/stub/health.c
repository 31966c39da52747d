/*
 * grpc.health.v1.Health. A watcher is in the list from its first message until its call is over; the
 * one lock guards the list, the states and the order of what each watcher is told. It is taken before
 * a call's own lock, and never inside it.
 */
#include "stub/core.h"
#include "stub/runtime.h"

#include <grpc/health/v1/health.stub.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Health__V1__HealthCheckRequest request_message;
typedef Grpc__Health__V1__HealthCheckResponse response_message;

#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

struct service {
    struct service *next;
    bool serving;
    char name[];
};

/* In the arena of its call. */
struct watcher {
    struct watcher *next;
    struct health *health;
    struct stub_call *call;
    const char *name;
    int told;      /* the last state sent; -1 at first */
    bool finished; /* answered, or on its way */
};

struct health {
    pthread_mutex_t lock;
    struct service *services;
    struct watcher *watchers;
    bool shut_down;
};

/* --- states; health->lock is held --------------------------------------------------------------- */

static struct service *find(struct health *health, const char *name)
{
    for (struct service *service = health->services; service; service = service->next) {
        if (strcmp(service->name, name) == 0)
            return service;
    }
    return NULL;
}

static struct service *find_or_add(struct health *health, const char *name)
{
    struct service *service = find(health, name);
    size_t bytes = strlen(name) + 1;

    if (service)
        return service;
    service = calloc(1, sizeof(*service) + bytes);
    CHECK(service);
    memcpy(service->name, name, bytes);
    service->next = health->services;
    health->services = service;
    return service;
}

static int state_of(struct health *health, const char *name)
{
    const struct service *service = find(health, name);

    if (!service)
        return SERVICE_UNKNOWN;
    return service->serving ? SERVING : NOT_SERVING;
}

static void tell(struct watcher *watcher)
{
    response_message response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    int state = state_of(watcher->health, watcher->name);

    if (state == watcher->told)
        return;
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)state;
    if (grpc_health_v1_health_watch_send(watcher->call, &response) == STUB_SEND_OK)
        watcher->told = state;
}

static void tell_all(struct health *health)
{
    for (struct watcher *watcher = health->watchers; watcher; watcher = watcher->next)
        tell(watcher);
}

static void remove_watcher(struct watcher *watcher)
{
    struct watcher **at = &watcher->health->watchers;

    while (*at && *at != watcher)
        at = &(*at)->next;
    if (*at)
        *at = watcher->next;
}

/* --- handlers ------------------------------------------------------------------------------------ */

static void handle_check(void *user, struct stub_call *call, const request_message *request)
{
    struct health *health = user;
    response_message response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    int state;

    pthread_mutex_lock(&health->lock);
    state = state_of(health, request->service);
    pthread_mutex_unlock(&health->lock);
    if (state == SERVICE_UNKNOWN) {
        stub_call_fail(call, STUB_NOT_FOUND, "unknown service", NULL, 0);
        return;
    }
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)state;
    grpc_health_v1_health_check_reply(call, &response);
}

static void watch_closed(void *user)
{
    struct watcher *watcher = user;
    struct health *health = watcher->health;
    bool finished;

    pthread_mutex_lock(&health->lock);
    remove_watcher(watcher);
    finished = watcher->finished;
    watcher->finished = true;
    pthread_mutex_unlock(&health->lock);
    if (!finished)
        stub_call_finish(watcher->call);
}

static void finish_watcher(struct watcher *watcher)
{
    watcher->finished = true;
    stub_call_fail(watcher->call, STUB_UNAVAILABLE, "the server shuts down", NULL, 0);
}

static void handle_watch(void *user, struct stub_call *call, const request_message *request)
{
    struct health *health = user;
    struct watcher *watcher = stub_call_alloc(call, sizeof(*watcher));

    *watcher = (struct watcher){
        .health = health,
        .call = call,
        .name = request->service,
        .told = -1,
    };
    stub_call_set_queue(call, &(struct stub_queue){.when_full = STUB_FULL_KEEP_LATEST});
    stub_call_on_closed(call, watch_closed, watcher); /* not before this handler has returned */
    pthread_mutex_lock(&health->lock);
    tell(watcher);
    if (health->shut_down) {
        finish_watcher(watcher);
    } else {
        watcher->next = health->watchers;
        health->watchers = watcher;
    }
    pthread_mutex_unlock(&health->lock);
}

/* --- the application's side ---------------------------------------------------------------------- */

bool stub_health_register(struct stub_server *server)
{
    static const struct grpc_health_v1_health_handlers handlers = {
        .check = handle_check,
        .watch = handle_watch,
    };

    CHECK(server);
    if (server->health || core_is_forked())
        return false;
    server->health = calloc(1, sizeof(*server->health));
    CHECK(server->health);
    CHECK(pthread_mutex_init(&server->health->lock, NULL) == 0);
    find_or_add(server->health, "");
    return grpc_health_v1_health_register(server, &handlers, server->health);
}

void stub_health_set(struct stub_server *server, const char *service, bool serving)
{
    struct health *health;

    CHECK(server && service);
    health = server->health;
    if (!health || core_is_forked())
        return;
    pthread_mutex_lock(&health->lock);
    if (!health->shut_down) {
        find_or_add(health, service)->serving = serving;
        tell_all(health);
    }
    pthread_mutex_unlock(&health->lock);
}

void stub_health_shutdown(struct stub_server *server)
{
    struct health *health;

    CHECK(server);
    health = server->health;
    if (!health || core_is_forked())
        return;
    pthread_mutex_lock(&health->lock);
    health->shut_down = true;
    for (struct service *service = health->services; service; service = service->next)
        service->serving = false;
    tell_all(health);
    while (health->watchers) {
        struct watcher *watcher = health->watchers;

        health->watchers = watcher->next; /* the watcher goes with its call */
        finish_watcher(watcher);
    }
    pthread_mutex_unlock(&health->lock);
}

void health_destroy(struct health *health)
{
    if (!health)
        return;
    while (health->services) {
        struct service *service = health->services;

        health->services = service->next;
        free(service);
    }
    pthread_mutex_destroy(&health->lock);
    free(health);
}
