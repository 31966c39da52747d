/*
 * A pretended process: what main.c builds, on fibres of one group, without a network. Calls come
 * through its door. Killed, its fibres are dropped in the middle of what they do.
 */
#ifndef HOLDFAST_TESTS_SIM_SERVER_H
#define HOLDFAST_TESTS_SIM_SERVER_H

#include "op/services.h"
#include "tests/sim/stores.h"
#include "tests/sim/wrap.h"

#include <stdbool.h>

struct server {
    struct services services;
    struct estimate estimate;
    struct sim_door *door;
    int group;
    bool up;
};

/* In a fibre of the group. The server's memory must stay for ever: what was killed may be pointed to. */
struct server *server_start(int group);

/* Servers that start from here on trace into this file (op/trace.h); kept. */
void server_trace_into(const char *path);

/* From a fibre of another group. Whoever waits for an answer gets none. */
void server_kill(struct server *server);

#endif
