/*
 * A script's KEYS and ARGV while they are being written, and bytes that grow.
 *
 * One request per connection, used again for every call: memory stays. One thread.
 */
#ifndef HOLDFAST_COUNTER_REQUEST_H
#define HOLDFAST_COUNTER_REQUEST_H

#include "base/check.h"
#include "base/slice.h"
#include "counter/counter.h"
#include "quota/hold.h"
#include "quota/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
    char *data;
    size_t len;
    size_t room;
};

void buffer_done(struct buffer *buffer);

struct request {
    int shard;
    struct buffer keys; /* both as RESP bulk strings */
    struct buffer args;
    size_t keys_count;
    size_t args_count;
    struct buffer tenants; /* int64_t each: those that request_tenant has seen */
};

/* Empties it, and appends the authority key. */
void request_open(struct request *request, int shard);
void request_done(struct request *request);

/* replid, epoch, "epoch:nonce", shard. */
void request_guard(struct request *request, const struct shard_view *view);

/* The further views of a call, behind its guard: how many, then shard and "epoch:nonce" of each. */
void request_views(struct request *request, const struct counter_call *call);

/* q:{<tag>}:2:t:<tenant>, where t is the kind of key. */
void request_tenant_key(struct request *request, char kind, int64_t tenant_id);

void request_text(struct request *request, struct slice text);
void request_int(struct request *request, int64_t value);
void request_count(struct request *request, size_t count);

/* Of a scan; reply_cursor reads the next one. */
void request_cursor(struct request *request, const char *cursor);

/* "tenant=job": the name of a hold, and of a FINAL mark. */
void request_job(struct request *request, int64_t tenant_id, struct slice job_id);

/* The name of a quota (packed.h). */
void request_ref(struct request *request, struct quota_ref ref);

/* "tenant limit:period" */
void request_tenant_ref(struct request *request, int64_t tenant_id, struct quota_ref ref);

/* "epoch.seq" */
void request_attempt(struct request *request, struct attempt attempt);

/* 1-based index of a tenant of this request, in order of first mention. */
size_t request_tenant(struct request *request, int64_t tenant_id);
size_t request_tenants_count(const struct request *request);
int64_t request_tenant_at(const struct request *request, size_t index);

/* Appends the whole command: EVALSHA or EVAL, and the script's SHA-1 or text. */
void request_finish(const struct request *request, const char *command, struct slice script,
                    struct buffer *out);

#endif
