/*
 * A script's KEYS and ARGV while they are being written, and bytes that grow.
 *
 * One request per connection, used again for every call: memory stays. One thread.
 */
#ifndef HOLDFAST_COUNTER_REQUEST_H
#define HOLDFAST_COUNTER_REQUEST_H

#include "base/check.h"
#include "base/slice.h"
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

/* Memory for size more bytes at the end; the caller fills them and adds to len. */
char *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_append(struct buffer *buffer, const void *data, size_t size);
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

/* replid, epoch, nonce. */
void request_guard(struct request *request, const struct shard_view *view);

/* Keys of the shard: q:{s17}:<formatted>. */
void request_key(struct request *request, const char *format, ...) PRINTF_LIKE(2, 3);

/* The t key of a quota. */
void request_quota_key(struct request *request, int64_t tenant_id, struct quota_ref ref);

void request_text(struct request *request, struct slice text);
void request_int(struct request *request, int64_t value);
void request_count(struct request *request, size_t count);

/* "limit:period" */
void request_ref(struct request *request, struct quota_ref ref);

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
