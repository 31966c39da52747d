#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */

#include "tests/sim/fibre.h"

#include "base/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES (2u << 20)
#else
#define STACK_BYTES (512u << 10)
#endif

struct fibre {
    struct fibre *next;
    const char *name;
    int group;
    void (*run)(void *user);
    void *user;
    ucontext_t context;
    char *stack;
    void *fake_stack;
    const void *channel;
    int64_t wake_us;
    bool woken, done, dropped;
};

struct timer {
    struct timer *next;
    int64_t at_us;
    void (*fn)(void *user);
    void *user;
};

static struct scheduler {
    struct fibre *fibres;
    struct timer *timers; /* soonest first */
    struct fibre *current;
    ucontext_t main;
    void *main_fake_stack;
    const void *main_stack;
    size_t main_stack_bytes;
    struct dice dice;
    int64_t now_us, switches;
} all;

static _Thread_local bool runs_fibres; /* true in the one thread that does */

static void free_fibre(struct fibre *fibre)
{
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(fibre->stack, STACK_BYTES);
#endif
    munmap(fibre->stack, STACK_BYTES);
    free(fibre);
}

/* --- switching ---------------------------------------------------------------------------------- */

static void enter(struct fibre *fibre)
{
    all.current = fibre;
    all.switches++;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&all.main_fake_stack, fibre->stack, STACK_BYTES);
#endif
    CHECK(swapcontext(&all.main, &fibre->context) == 0);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(all.main_fake_stack, NULL, NULL);
#endif
    all.current = NULL;
}

static void leave(struct fibre *fibre)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fibre->done ? NULL : &fibre->fake_stack, all.main_stack,
                                   all.main_stack_bytes);
#endif
    CHECK(swapcontext(&fibre->context, &all.main) == 0);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fibre->fake_stack, &all.main_stack, &all.main_stack_bytes);
#endif
}

static void body(void)
{
    struct fibre *fibre = all.current;

#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &all.main_stack, &all.main_stack_bytes);
#endif
    fibre->run(fibre->user);
    fibre->done = true;
    fibre_wake(fibre);
    leave(fibre);
    UNREACHABLE();
}

/* --- the scheduler ------------------------------------------------------------------------------ */

void fibres_begin(uint64_t seed)
{
    fibres_end();
    all = (struct scheduler){.dice = {seed}};
    runs_fibres = true;
}

void fibres_end(void)
{
    struct fibre *next;

    CHECK(!all.current);
    for (struct fibre *fibre = all.fibres; fibre; fibre = next) {
        next = fibre->next;
        free_fibre(fibre);
    }
    all.fibres = NULL;
    while (all.timers) {
        struct timer *timer = all.timers;

        all.timers = timer->next;
        free(timer);
    }
}

void fibres_at(int64_t us, void (*fn)(void *user), void *user)
{
    struct timer *timer = malloc(sizeof(*timer)), **link = &all.timers;

    CHECK(timer);
    while (*link && (*link)->at_us <= us)
        link = &(*link)->next;
    *timer = (struct timer){*link, us, fn, user};
    *link = timer;
}

static void run_timer(void)
{
    struct timer timer = *all.timers;

    free(all.timers);
    all.timers = timer.next;
    if (timer.at_us > all.now_us)
        all.now_us = timer.at_us;
    timer.fn(timer.user);
}

/* Of those that may go on first, any; NULL: none before then. */
static struct fibre *pick(int64_t until_us)
{
    struct fibre *best = NULL;
    int64_t equal = 0;

    for (struct fibre *fibre = all.fibres; fibre; fibre = fibre->next) {
        int64_t at_us = fibre->wake_us > all.now_us ? fibre->wake_us : all.now_us;
        int64_t best_us = best && best->wake_us > all.now_us ? best->wake_us : all.now_us;

        if (at_us > until_us || (best && at_us > best_us))
            continue;
        if (!best || at_us < best_us) {
            best = fibre;
            equal = 1;
        } else if (dice_one_in(&all.dice, ++equal)) {
            best = fibre;
        }
    }
    return best;
}

static void bury(void)
{
    struct fibre **link = &all.fibres;

    while (*link) {
        struct fibre *fibre = *link;

        if (!fibre->done && !fibre->dropped) {
            link = &fibre->next;
            continue;
        }
        *link = fibre->next;
        free_fibre(fibre);
    }
}

void fibres_run(int64_t until_us)
{
    struct fibre *fibre;

    CHECK(!all.current);
    while ((fibre = pick(until_us)) || (all.timers && all.timers->at_us <= until_us)) {
        if (all.timers && (!fibre || all.timers->at_us <= all.now_us ||
                           all.timers->at_us <= fibre->wake_us)) {
            run_timer();
            continue;
        }
        if (fibre->wake_us > all.now_us)
            all.now_us = fibre->wake_us;
        enter(fibre);
        if (fibre->done || fibre->dropped)
            bury();
    }
    if (until_us < FIBRE_FOREVER_US && until_us > all.now_us)
        all.now_us = until_us;
}

int64_t fibre_now_us(void)
{
    return all.now_us;
}

int64_t fibre_switches(void)
{
    return all.switches;
}

struct fibre *fibre_start(const char *name, int group, void (*run)(void *user), void *user)
{
    struct fibre *fibre = calloc(1, sizeof(*fibre));

    CHECK(fibre && getcontext(&fibre->context) == 0);
    fibre->name = name;
    fibre->group = group ? group : fibre_group();
    fibre->run = run;
    fibre->user = user;
    fibre->wake_us = all.now_us;
    fibre->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(fibre->stack != MAP_FAILED);
    fibre->context.uc_stack.ss_sp = fibre->stack;
    fibre->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fibre->context, body, 0);
    fibre->next = all.fibres;
    all.fibres = fibre;
    return fibre;
}

void fibres_drop(int group)
{
    for (struct fibre *fibre = all.fibres; fibre; fibre = fibre->next)
        fibre->dropped = fibre->group == group && fibre != all.current;
    bury();
}

/* --- in a fibre --------------------------------------------------------------------------------- */

const char *fibre_name(void)
{
    return all.current ? all.current->name : "";
}

int fibre_group(void)
{
    return runs_fibres && all.current ? all.current->group : 0;
}

bool fibre_wait(const void *channel, int64_t until_us)
{
    struct fibre *fibre = all.current;

    CHECK(fibre);
    fibre->channel = channel;
    fibre->wake_us = until_us;
    fibre->woken = false;
    leave(fibre);
    fibre->channel = NULL;
    return fibre->woken;
}

void fibre_wake(const void *channel)
{
    for (struct fibre *fibre = all.fibres; fibre; fibre = fibre->next)
        if (fibre->channel == channel && !fibre->dropped) {
            fibre->channel = NULL;
            fibre->woken = true;
            fibre->wake_us = all.now_us;
        }
}

void fibre_sleep_us(int64_t us)
{
    fibre_wait(NULL, all.now_us + us);
}

void fibre_yield(void)
{
    fibre_sleep_us(0);
}

static bool lives(const struct fibre *wanted)
{
    for (const struct fibre *fibre = all.fibres; fibre; fibre = fibre->next)
        if (fibre == wanted)
            return !fibre->done;
    return false;
}

void fibre_join(struct fibre *fibre)
{
    while (lives(fibre))
        fibre_wait(fibre, FIBRE_FOREVER_US);
}
