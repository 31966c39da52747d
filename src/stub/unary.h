/* A unary call of a client, for unary.c and for its stages. */
#ifndef HOLDFAST_STUB_UNARY_H
#define HOLDFAST_STUB_UNARY_H

#include "stub/channel.h"
#include "stub/client_stage.h"

struct unary {
    struct client_tag tag;
    struct client_link link;
    struct stub_channel *channel;
    const struct stub_method *method;
    struct unary *next_free;
    struct status_source source;
    grpc_byte_buffer *reply;
    struct arena arena;
    enum unary_life life;

    /* the form that calls back */
    struct tls_wait wait;
    stub_deliver *deliver;
    stub_function *done;
    void *user;

    /* the form that waits: deliver is NULL */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

#endif
