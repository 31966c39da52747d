/*
 * What is seen of every call from outside its handler: two interceptors of the server, one that
 * counts calls by method and code, one that logs their beginning and end at debug level. They see
 * methods that nobody serves and messages that are refused, too.
 */
#ifndef HOLDFAST_RPC_CALLS_H
#define HOLDFAST_RPC_CALLS_H

#include "stub/method.h"
#include "stub/server.h"

#include <stdint.h>

struct calls;

struct calls *calls_create(void);

/* Before stub_server_start. `calls` outlives the server. */
void calls_intercept(struct calls *calls, struct stub_server *server);

/* [any thread] How many calls of this method have ended so; NULL: of unknown methods. */
uint64_t calls_count(const struct calls *calls, const struct stub_method *method, int code);

/* [any thread] One line for each method and code that has come up. */
void calls_log(const struct calls *calls);

void calls_destroy(struct calls *calls);

#endif
