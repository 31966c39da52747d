#include "base/fault.h"

#include "base/slice.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { ACTION_FAIL, ACTION_WAIT, ACTION_STOP, ACTION_CRASH };

static const char *const action_names[] = {"fail", "wait", "stop", "crash"};

struct point {
    char name[FAULT_NAME_MAX + 1];
    enum action action;
    int only_at;  /* the passage that counts; 0: every one */
    int passages; /* so far */
    int waiting;  /* threads blocked here */
    int releases; /* grows when they may go */
    bool armed;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t released;
    struct point points[FAULT_POINTS_MAX];
    int count;
    _Atomic int armed; /* points that do something: 0 makes a passage one load */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER};

static struct point *point_find(const char *name)
{
    for (int i = 0; i < table.count; i++)
        if (strcmp(table.points[i].name, name) == 0)
            return &table.points[i];
    return NULL;
}

/* "name=action" or "name=action@N". */
static bool setting_parse(struct slice setting, struct point *ret)
{
    struct point point = {.armed = true};
    struct slice name;
    struct slice action;
    uint64_t only_at = 0;

    if (!slice_cut(&setting, '=', &name) || !slice_cut(&setting, '@', &action))
        return false;
    if (name.len == 0 || name.len > FAULT_NAME_MAX)
        return false;
    if (setting.data && (!slice_to_u64(setting, &only_at) || only_at == 0 || only_at > INT32_MAX))
        return false;
    memcpy(point.name, name.data, name.len);
    point.only_at = (int)only_at;
    for (size_t i = 0; i < ARRAY_COUNT(action_names); i++) {
        if (slice_equal_cstr(action, action_names[i])) {
            point.action = (enum action)i;
            *ret = point;
            return true;
        }
    }
    return false;
}

/* With the lock held. Threads that wait at a point which is set anew go on. */
static void point_disarm(struct point *point)
{
    if (point->armed)
        atomic_fetch_sub(&table.armed, 1);
    point->armed = false;
    point->releases++;
    pthread_cond_broadcast(&table.released);
}

/* With the lock held. */
static void point_install(const struct point *new)
{
    struct point *point = point_find(new->name);

    if (point) {
        point_disarm(point);
        point->action = new->action;
        point->only_at = new->only_at;
        point->passages = 0;
        point->armed = true;
    } else {
        CHECK(table.count < FAULT_POINTS_MAX);
        table.points[table.count++] = *new;
    }
    atomic_fetch_add(&table.armed, 1);
}

bool fault_set(const char *settings)
{
    struct slice rest = slice_from_cstr(settings);
    struct point parsed[FAULT_POINTS_MAX];
    struct slice setting;
    int count = 0;
    int added = 0;
    bool fits;

    while (slice_cut(&rest, ',', &setting))
        if (count == FAULT_POINTS_MAX || !setting_parse(setting, &parsed[count++]))
            return false;
    pthread_mutex_lock(&table.lock);
    for (int i = 0; i < count; i++)
        added += !point_find(parsed[i].name);
    fits = table.count + added <= FAULT_POINTS_MAX;
    for (int i = 0; fits && i < count; i++)
        point_install(&parsed[i]);
    pthread_mutex_unlock(&table.lock);
    return fits;
}

bool fault_load_environment(void)
{
    const char *settings = getenv(FAULT_ENVIRONMENT);

    return !settings || !settings[0] || fault_set(settings);
}

void fault_release(const char *name)
{
    struct point *point;

    pthread_mutex_lock(&table.lock);
    point = point_find(name);
    if (point)
        point_disarm(point);
    pthread_mutex_unlock(&table.lock);
}

void fault_clear(void)
{
    pthread_mutex_lock(&table.lock);
    for (int i = 0; i < table.count; i++)
        point_disarm(&table.points[i]);
    pthread_mutex_unlock(&table.lock);
}

int fault_waiting(const char *name)
{
    struct point *point;
    int waiting;

    pthread_mutex_lock(&table.lock);
    point = point_find(name);
    waiting = point ? point->waiting : 0;
    pthread_mutex_unlock(&table.lock);
    return waiting;
}

int fault_passages(const char *name)
{
    struct point *point;
    int passages;

    pthread_mutex_lock(&table.lock);
    point = point_find(name);
    passages = point ? point->passages : 0;
    pthread_mutex_unlock(&table.lock);
    return passages;
}

static void process_signal(const char *name, enum action action)
{
    fprintf(stderr, "fault %s at %s\n", action_names[action], name);
    /* To this thread, not to the process: it must not go on from here while another one takes the
     * signal. */
    raise(action == ACTION_CRASH ? SIGKILL : SIGSTOP);
    while (action == ACTION_CRASH) /* NOLINT(bugprone-infinite-loop): SIGKILL ends it */
        pause();
}

/* With the lock held. */
static void point_wait(struct point *point)
{
    int releases = point->releases;

    point->waiting++;
    while (point->releases == releases)
        pthread_cond_wait(&table.released, &table.lock);
    point->waiting--;
}

bool fault_hit(const char *name)
{
    enum action action = ACTION_WAIT;
    struct point *point;
    bool acts;

    if (atomic_load_explicit(&table.armed, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&table.lock);
    point = point_find(name);
    acts = point && point->armed;
    if (acts) {
        point->passages++;
        action = point->action;
        acts = point->only_at == 0 || point->only_at == point->passages;
    }
    if (acts && action == ACTION_WAIT)
        point_wait(point);
    pthread_mutex_unlock(&table.lock);
    if (acts && (action == ACTION_CRASH || action == ACTION_STOP))
        process_signal(name, action);
    return acts && action == ACTION_FAIL;
}
