/*
 * A failed call, read from its gRPC status and the details of google.rpc: what happened, whether it
 * had an effect, and what to do.
 *
 * Any thread; a failure owns what it points to until failure_done.
 */
#ifndef HOLDFAST_CLI_FAILURE_H
#define HOLDFAST_CLI_FAILURE_H

#include "google/rpc/error_details.pb-c.h"
#include "stub/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum failure_effect {
    FAILURE_EFFECT_UNKNOWN,  /* ask again with the same job_id */
    FAILURE_EFFECT_DEFINITE, /* nothing was changed, and never will be */
};

struct failure {
    int code;            /* enum stub_code */
    const char *message; /* belongs to the status it was read from */
    const char *server;  /* who answered, or NULL; belongs to the status too */
    const char *reason;  /* "" without an ErrorInfo of domain holdfast */
    enum failure_effect effect;
    bool read_only;                /* see failure_of_read */
    Google__Rpc__ErrorInfo *info;  /* NULL if absent */
    Google__Rpc__BadRequest *bad;  /* NULL if absent */
    Google__Rpc__RetryInfo *retry; /* NULL if absent */
};

/* status must outlive the failure. */
void failure_read(const struct stub_status *status, struct failure *ret);
void failure_done(struct failure *failure);

/* The call was one that changes nothing: its effect is definite, and the advice is for a reader. */
void failure_of_read(struct failure *failure);

/* True if the same call may succeed later: the server was away, busy, or no answer came. */
bool failure_is_transient(const struct failure *failure);

void failure_print(const struct failure *failure, FILE *out);

/* {"error": {"code", "reason", "message", "effect", "violations", "metadata", "advice"}} */
json_t *failure_json(const struct failure *failure);

#endif
