#include "base/clock.h"
#include "quota/times.h"
#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fixture f;

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(silence, .init = set_up, .fini = tear_down);

enum { QUIET_MS = 20, LONGER_US = 30000 };

struct quiet_scene {
    struct counter_observe observe;
    struct counter_life life;
    struct counter *counter;
    char address[128];
    int server, peer;
};

/* A call is out, to a server that has said nothing yet. */
static void quiet_begin(struct quiet_scene *scene)
{
    struct counter_options options = {.address = scene->address,
                                      .connect_timeout_ms = 500,
                                      .timeout_ms = QUIET_MS,
                                      .life = &scene->life};

    snprintf(scene->address, sizeof(scene->address), "unix:%s/quiet", f.folder);
    scene->server = fixture_listen(scene->address + 5);
    scene->counter = counter_create(&options);
    scene->observe = (struct counter_observe){.call = fixture_call(&f, COUNTER_OBSERVE)};
    counter_add(scene->counter, &scene->observe.call);
    counter_send(scene->counter);
    scene->peer = accept(scene->server, NULL, NULL);
    cr_assert(scene->peer >= 0);
}

static void quiet_end(struct quiet_scene *scene)
{
    close(scene->peer);
    close(scene->server);
    unlink(scene->address + 5);
    counter_run(scene->counter);
    counter_destroy(scene->counter);
}

Test(silence, what_goes_on_answering_is_waited_for)
{
    static const char answer[] = "-BUSY another script\r\n";
    struct quiet_scene scene = {0};

    quiet_begin(&scene);
    for (size_t i = 0; i < sizeof(answer) - 1; i++) {
        cr_assert_eq(scene.observe.call.status, STATUS_UNKNOWN);
        usleep(LONGER_US);
        cr_assert(write(scene.peer, &answer[i], 1) == 1);
        counter_receive(scene.counter);
        cr_assert(counter_is_connected(scene.counter), "byte %zu: %s", i,
                  counter_last_error(scene.counter));
    }
    cr_assert_eq(scene.observe.call.status, STATUS_UNAVAILABLE, "it was answered");
    cr_assert(clock_mono_us(clock_real()) - scene.life.heard_us < 10000000, "and others know");
    quiet_end(&scene);
}

Test(silence, while_another_connection_is_answered_silence_lasts_longer)
{
    struct quiet_scene scene = {0};
    int64_t begun_us = clock_mono_us(clock_real());

    quiet_begin(&scene);
    scene.life.heard_us = begun_us + 3600 * INT64_C(1000000);
    counter_run(scene.counter);
    cr_assert_eq(scene.observe.call.status, STATUS_UNKNOWN);
    cr_assert(clock_mono_us(clock_real()) - begun_us >= REDIS_LONE_MS * INT64_C(1000),
              "not after %d ms", QUIET_MS);
    quiet_end(&scene);
}
