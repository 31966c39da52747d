/*
 * Both services on a loopback port in this process, without any store behind them: for what the
 * edge decides by itself.
 */
#ifndef HOLDFAST_TESTS_RPC_EDGE_H
#define HOLDFAST_TESTS_RPC_EDGE_H

#include "op/services.h"
#include "quota/token_keys.h"
#include "rpc/calls.h"
#include "rpc/service.h"
#include "stub/client.h"
#include "stub/server.h"

#include <pthread.h>
#include <stdbool.h>

struct edge {
    struct estimate estimate;
    struct services services;
    struct rpc rpc;
    struct calls *calls;
    struct stub_server *server;
    struct stub_channel *channel;
    pthread_t thread;
};

void edge_start(struct edge *edge);
void edge_stop(struct edge *edge);

/* A reservation id as this server makes them, to be freed. */
char *edge_token(struct edge *edge, const char *tenant, const char *job_id);

/*
 * True if the status is this code with ErrorInfo of domain holdfast, this reason and effect
 * "definite", and the initial metadata names the server.
 */
bool edge_says(const struct stub_status *status, int code, const char *reason);

/* True if BadRequest names the field. */
bool edge_names(const struct stub_status *status, const char *field);

/* How many fields BadRequest names. */
size_t edge_named(const struct stub_status *status);

#endif
