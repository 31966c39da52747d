#include "op/janitor.h"

#include "base/check.h"
#include "base/thread.h"
#include "op/duty.h"
#include "quota/times.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* In the order in which they get their turns when several are due. */
static const struct duty *const duties[] = {
    &duty_probe, &duty_look,    &duty_losses, &duty_reap,      &duty_degraded, &duty_mend,
    &duty_idle,  &duty_periods, &duty_close,  &duty_retention, &duty_seal,     &duty_reconcile,
};

enum { DUTIES = sizeof(duties) / sizeof(*duties) };

struct janitor {
    struct services *services;
    struct stores *stores;
    pthread_t thread;
    int stop_fd;
    struct duty_news news;
    struct post {
        void *own;
        int64_t next_us;
        struct log_limit log;
    } posts[DUTIES];
};

enum duty_end duty_failed(struct duty_tools *tools, const char *what, enum status status)
{
    log_every(tools->log, LOG_WARN, "janitor", "%s.failed status=%s error=%s", what,
              status_name(status),
              LOG_VALUE(tools->stores->table->database_error(tools->stores->db)));
    return DUTY_FAILED;
}

static struct duty_tools tools_for(struct janitor *janitor, struct post *post)
{
    arena_reset(&janitor->stores->scratch);
    return (
        struct duty_tools){.stores = janitor->stores, .log = &post->log, .news = &janitor->news};
}

static bool has_stopped(struct janitor *janitor, int wait_ms)
{
    struct pollfd poll_fd = {.fd = janitor->stop_fd, .events = POLLIN};

    return poll(&poll_fd, 1, wait_ms) > 0;
}

static int64_t next_ms(const struct duty *duty, enum duty_end end, const struct duty_tools *tools)
{
    switch (end) {
    case DUTY_MORE:
        return 0;
    case DUTY_SOONER:
        return tools->again_ms;
    case DUTY_DONE:
    case DUTY_FAILED:
        break;
    }
    return duty->every_ms;
}

/* Every duty that is due gets one turn; returns how long there is nothing to do. */
static int take_turns(struct janitor *janitor)
{
    const struct clock *clock = janitor->services->clock;
    int64_t first_us = INT64_MAX, now_us;

    for (size_t i = 0; i < DUTIES; i++) {
        const struct duty *duty = duties[i];
        struct post *post = &janitor->posts[i];

        now_us = clock_mono_us(clock);
        if (now_us >= post->next_us) {
            struct duty_tools tools = tools_for(janitor, post);

            post->next_us = now_us + next_ms(duty, duty->turn(post->own, &tools), &tools) * 1000;
            if (has_stopped(janitor, 0))
                return 0;
        }
        if (post->next_us < first_us)
            first_us = post->next_us;
    }
    now_us = clock_mono_us(clock);
    return first_us <= now_us ? 0 : (int)((first_us - now_us + 999) / 1000);
}

static void *run(void *user)
{
    struct janitor *janitor = user;

    while (!has_stopped(janitor, take_turns(janitor)))
        continue;
    for (size_t i = 0; i < DUTIES; i++) {
        struct duty_tools tools = tools_for(janitor, &janitor->posts[i]);

        if (duties[i]->leave)
            duties[i]->leave(janitor->posts[i].own, &tools);
    }
    return NULL;
}

struct janitor *janitor_create(struct services *services)
{
    struct janitor *janitor = calloc(1, sizeof(*janitor));
    const struct stores_options options = {
        .counter_timeout_ms = services->options.redis_timeout_ms,
        .database_connect_ms = CONNECT_SHARED_MS,
        .database_statement_ms = STATEMENT_LONG_MS,
        .database_lock_ms = LOCK_WAIT_MS,
        .hurried = true,
        .scratch_bytes = 64 * 1024,
        .scratch_bytes_max = 256u << 20,
    };

    CHECK(janitor);
    janitor->services = services;
    janitor->news.begun_ms = -1;
    janitor->stores = stores_open(services, &options);
    janitor->stop_fd = eventfd(0, EFD_CLOEXEC);
    CHECK(janitor->stop_fd >= 0);
    for (size_t i = 0; i < DUTIES; i++)
        if (duties[i]->create)
            janitor->posts[i].own = duties[i]->create();
    thread_start(&janitor->thread, "janitor", run, janitor);
    return janitor;
}

void janitor_destroy(struct janitor *janitor)
{
    uint64_t one = 1;

    if (!janitor)
        return;
    CHECK(write(janitor->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    pthread_join(janitor->thread, NULL);
    close(janitor->stop_fd);
    for (size_t i = 0; i < DUTIES; i++)
        if (duties[i]->destroy)
            duties[i]->destroy(janitor->posts[i].own);
    stores_close(janitor->stores);
    free(janitor);
}
