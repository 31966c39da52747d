#define _GNU_SOURCE /* ppoll */

#include "tests/sim/wrap.h"

#include "base/check.h"
#include "base/entropy.h"
#include "stub/call.h"
#include "stub/server.h"
#include "tests/sim/fibre.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Fibres of a server that died are dropped with all that they held: that is no leak to report. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

/*
 * The linker sends the program's calls of name to __wrap_name, and ours of __real_name to libc. Outside of
 * fibres everything is as it always is: a test may use the real stores beside the pretended ones.
 */
int __real_poll(struct pollfd *items, nfds_t count, int timeout_ms);
ssize_t __real_write(int fd, const void *bytes, size_t size);
int __real_pthread_mutex_trylock(pthread_mutex_t *lock);
int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __real_pthread_mutex_unlock(pthread_mutex_t *lock);
int __real_clock_gettime(clockid_t id, struct timespec *time);
int __real_nanosleep(const struct timespec *time, struct timespec *left);
const struct clock *__real_clock_real(void);
void __real_thread_start(pthread_t *ret, const char *name, void *(*run)(void *user), void *user);
void __real_thread_start_batch(pthread_t *ret, const char *name, void *(*run)(void *user),
                               void *user);
int __real_pthread_join(pthread_t thread, void **ret);
int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until);
int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __real_pthread_cond_signal(pthread_cond_t *condition);
int __real_pthread_cond_broadcast(pthread_cond_t *condition);

static const char pollers = 0; /* its address is the channel of everyone who polls */

/* --- time --------------------------------------------------------------------------------------- */

static int64_t mono_us(void *user)
{
    (void)user;
    return fibre_now_us();
}

static int64_t wall_ms(void *user)
{
    (void)user;
    return sim_ms_at(fibre_now_us());
}

const struct clock *sim_clock(void)
{
    static const struct clock clock = {.mono_us = mono_us, .wall_ms = wall_ms};

    return &clock;
}

int64_t sim_epoch_ms = SIM_EPOCH_MS;

const struct clock *__wrap_clock_real(void)
{
    return fibre_group() ? sim_clock() : __real_clock_real();
}

int __wrap_clock_gettime(clockid_t id, struct timespec *time)
{
    int64_t us;

    if (fibre_group() == 0)
        return __real_clock_gettime(id, time);
    us = fibre_now_us();
    if (id == CLOCK_REALTIME)
        us += sim_epoch_ms * 1000;
    time->tv_sec = us / 1000000;
    time->tv_nsec = us % 1000000 * 1000;
    return 0;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    if (fibre_group() == 0)
        return __real_nanosleep(time, left);
    if (left)
        *left = (struct timespec){0};
    fibre_sleep_us(time->tv_sec * INT64_C(1000000) + time->tv_nsec / 1000);
    return 0;
}

/* --- chance ------------------------------------------------------------------------------------- */

static void fill(void *user, void *out, size_t size)
{
    static struct dice dice = {1};

    (void)user;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)dice_u64(&dice);
}

const struct entropy *sim_entropy(void)
{
    static const struct entropy entropy = {.fill = fill};

    return &entropy;
}

/* --- threads ------------------------------------------------------------------------------------ */

struct body {
    void *(*run)(void *user);
    void *user;
};

static void run_body(void *user)
{
    struct body body = *(struct body *)user;

    free(user);
    body.run(body.user);
}

void __wrap_thread_start(pthread_t *ret, const char *name, void *(*run)(void *user), void *user)
{
    struct body *body;

    if (fibre_group() == 0) {
        __real_thread_start(ret, name, run, user);
        return;
    }
    body = malloc(sizeof(*body));
    CHECK(body);
    *body = (struct body){run, user};
    *ret = (pthread_t)(uintptr_t)fibre_start(name, 0, run_body, body);
}

void __wrap_thread_start_batch(pthread_t *ret, const char *name, void *(*run)(void *user),
                               void *user)
{
    if (fibre_group() == 0)
        __real_thread_start_batch(ret, name, run, user);
    else
        __wrap_thread_start(ret, name, run, user);
}

int __wrap_pthread_join(pthread_t thread, void **ret)
{
    if (fibre_group() == 0)
        return __real_pthread_join(thread, ret);
    if (ret)
        *ret = NULL;
    fibre_join((struct fibre *)(uintptr_t)thread);
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
    if (fibre_group() == 0)
        return __real_pthread_mutex_lock(lock);
    while (__real_pthread_mutex_trylock(lock) == EBUSY)
        fibre_wait(lock, FIBRE_FOREVER_US);
    return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *lock)
{
    return __real_pthread_mutex_trylock(lock);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
    int error = __real_pthread_mutex_unlock(lock);

    if (fibre_group() != 0)
        fibre_wake(lock);
    return error;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until)
{
    int64_t until_us = until->tv_sec * INT64_C(1000000) + until->tv_nsec / 1000;
    bool woken;

    if (fibre_group() == 0)
        return __real_pthread_cond_timedwait(condition, lock, until);
    __wrap_pthread_mutex_unlock(lock);
    woken = fibre_wait(condition, until_us);
    __wrap_pthread_mutex_lock(lock);
    return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    if (fibre_group() == 0)
        return __real_pthread_cond_wait(condition, lock);
    __wrap_pthread_mutex_unlock(lock);
    fibre_wait(condition, FIBRE_FOREVER_US);
    __wrap_pthread_mutex_lock(lock);
    return 0;
}

int __wrap_pthread_cond_signal(pthread_cond_t *condition)
{
    if (fibre_group() == 0)
        return __real_pthread_cond_signal(condition);
    fibre_wake(condition);
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *condition)
{
    if (fibre_group() == 0)
        return __real_pthread_cond_broadcast(condition);
    fibre_wake(condition);
    return 0;
}

/* --- descriptors -------------------------------------------------------------------------------- */

/* Eventfds are real ones; whoever polls looks again when somebody has written to any of them. */
int __wrap_poll(struct pollfd *items, nfds_t count, int timeout_ms)
{
    int64_t until_us;
    int ready;

    if (fibre_group() == 0)
        return __real_poll(items, count, timeout_ms);
    until_us = timeout_ms < 0 ? FIBRE_FOREVER_US : fibre_now_us() + timeout_ms * INT64_C(1000);
    while ((ready = __real_poll(items, count, 0)) == 0 && fibre_now_us() < until_us)
        fibre_wait(&pollers, until_us);
    return ready;
}

/* Only the worker calls it, with Redis' socket, which is none here: the answer's time is enough. */
int __wrap_ppoll(struct pollfd *items, nfds_t count, const struct timespec *timeout,
                 const sigset_t *signals)
{
    (void)items, (void)count, (void)signals;
    fibre_sleep_us(timeout->tv_sec * INT64_C(1000000) + timeout->tv_nsec / 1000);
    return 0;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    ssize_t written = __real_write(fd, bytes, size);

    if (size == sizeof(uint64_t) && fibre_group() != 0)
        fibre_wake(&pollers);
    return written;
}

/* --- stub/ -------------------------------------------------------------------------------------- */

struct errand {
    struct errand *next;
    void (*fn)(void *user, void *worker);
    void *user;
};

struct sim_door {
    struct errand *first, **last;
    bool closed;
};

struct sim_door *sim_door_create(void)
{
    struct sim_door *door = calloc(1, sizeof(*door));

    CHECK(door);
    door->last = &door->first;
    return door;
}

void sim_door_put(struct sim_door *door, void (*fn)(void *user, void *worker), void *user)
{
    struct errand *errand = malloc(sizeof(*errand));

    CHECK(errand);
    *errand = (struct errand){.fn = fn, .user = user};
    *door->last = errand;
    door->last = &errand->next;
    fibre_wake(door);
}

void sim_door_close(struct sim_door *door)
{
    door->closed = true;
    fibre_wake(door);
}

enum stub_next __wrap_stub_server_next(struct stub_server *server, int64_t timeout_us,
                                       void *worker)
{
    struct sim_door *door = (struct sim_door *)(void *)server;
    int64_t until_us = timeout_us < 0 ? FIBRE_FOREVER_US : fibre_now_us() + timeout_us;
    struct errand *errand;

    while (!door->first && !door->closed && fibre_now_us() < until_us)
        fibre_wait(door, until_us);
    errand = door->first;
    if (!errand)
        return door->closed ? STUB_NEXT_SHUTDOWN : STUB_NEXT_TIMEOUT;
    door->first = errand->next;
    if (!door->first)
        door->last = &door->first;
    errand->fn(errand->user, worker);
    free(errand);
    return STUB_NEXT_EVENT;
}

void __wrap_stub_call_post(struct stub_call *call, void (*fn)(void *user, void *worker), void *user)
{
    sim_door_put(((struct sim_call *)(void *)call)->door, fn, user);
}

void __wrap_stub_cork(void)
{
}

void __wrap_stub_uncork(void)
{
}
