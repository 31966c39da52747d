#include "counter/request.h"

#include "base/digits.h"
#include "counter/packed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_CHARS_MAX = 64 };

/* Memory for size more bytes at the end; the caller fills them and adds to len. */
static char *buffer_reserve(struct buffer *buffer, size_t size)
{
    if (buffer->room - buffer->len < size) {
        size_t room = buffer->room ? buffer->room : 1024;

        while (room - buffer->len < size)
            room *= 2;
        buffer->data = realloc(buffer->data, room);
        CHECK_MSG(buffer->data, "out of memory: %zu bytes", room);
        buffer->room = room;
    }
    return buffer->data + buffer->len;
}

static void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buffer_reserve(buffer, size), data, size);
    buffer->len += size;
}

void buffer_done(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void request_done(struct request *request)
{
    buffer_done(&request->keys);
    buffer_done(&request->args);
    buffer_done(&request->tenants);
}

/* head and text as one. */
static void append_joined(struct buffer *buffer, struct slice head, struct slice text)
{
    char digits[DIGITS_MAX];
    size_t len = head.len + text.len;
    size_t digits_len = digits_write((int64_t)len, digits);
    char *at = buffer_reserve(buffer, len + digits_len + 5);

    *at++ = '$';
    memcpy(at, digits, digits_len);
    at += digits_len;
    *at++ = '\r';
    *at++ = '\n';
    if (head.len)
        memcpy(at, head.data, head.len);
    at += head.len;
    if (text.len)
        memcpy(at, text.data, text.len);
    at += text.len;
    *at++ = '\r';
    *at = '\n';
    buffer->len += len + digits_len + 5;
}

static void append_bulk(struct buffer *buffer, struct slice text)
{
    append_joined(buffer, slice_of(NULL, 0), text);
}

static void request_key(struct request *request, const char *name)
{
    char key[KEY_CHARS_MAX];
    int len = snprintf(key, sizeof(key), "q:{%d}:%s", counter_tag(request->shard), name);

    CHECK(len > 0 && len < KEY_CHARS_MAX);
    append_bulk(&request->keys, slice_of(key, (size_t)len));
    request->keys_count++;
}

void request_open(struct request *request, int shard)
{
    request->shard = shard;
    request->keys.len = 0;
    request->args.len = 0;
    request->tenants.len = 0;
    request->keys_count = 0;
    request->args_count = 0;
    request_key(request, "a");
}

void request_tenant_key(struct request *request, char kind, int64_t tenant_id)
{
    char name[KEY_CHARS_MAX / 2];

    snprintf(name, sizeof(name), "%d:%c:%" PRId64, COUNTER_LAYOUT, kind, tenant_id);
    request_key(request, name);
}

void request_text(struct request *request, struct slice text)
{
    append_bulk(&request->args, text);
    request->args_count++;
}

void request_int(struct request *request, int64_t value)
{
    char digits[DIGITS_MAX];

    request_text(request, slice_of(digits, digits_write(value, digits)));
}

void request_count(struct request *request, size_t count)
{
    request_int(request, (int64_t)count);
}

static void request_pair(struct request *request, int64_t a, char separator, int64_t b)
{
    char text[DIGITS_PAIR_MAX];

    request_text(request, slice_of(text, digits_write_pair(a, separator, b, text)));
}

void request_job(struct request *request, int64_t tenant_id, struct slice job_id)
{
    char head[DIGITS_MAX + 1];
    size_t len = digits_write(tenant_id, head);

    head[len++] = '=';
    append_joined(&request->args, slice_of(head, len), job_id);
    request->args_count++;
}

void request_ref(struct request *request, struct quota_ref ref)
{
    char name[PACKED_REF_MAX];

    request_text(request, slice_of(name, packed_ref_write(ref, name)));
}

void request_tenant_ref(struct request *request, int64_t tenant_id, struct quota_ref ref)
{
    char text[DIGITS_MAX + 2 + PACKED_REF_MAX];
    size_t len = (size_t)snprintf(text, sizeof(text), "%" PRId64 " ", tenant_id);

    len += packed_ref_write(ref, text + len);
    request_text(request, slice_of(text, len));
}

void request_attempt(struct request *request, struct attempt attempt)
{
    request_pair(request, attempt.epoch, '.', attempt.seq);
}

static void request_mark(struct request *request, const struct shard_view *view)
{
    char mark[DIGITS_MAX + 1 + NONCE_CHARS];
    size_t len = digits_write(view->epoch, mark);
    size_t nonce_len = strlen(view->nonce);

    CHECK(nonce_len <= NONCE_CHARS);
    mark[len++] = ':';
    memcpy(mark + len, view->nonce, nonce_len);
    request_text(request, slice_of(mark, len + nonce_len));
}

void request_guard(struct request *request, const struct shard_view *view)
{
    request_text(request, slice_from_cstr(view->replid));
    request_int(request, view->epoch);
    request_mark(request, view);
    request_int(request, view->shard);
}

void request_views(struct request *request, const struct counter_call *call)
{
    request_count(request, call->views_count);
    for (size_t i = 0; i < call->views_count; i++) {
        const struct shard_view *view = &call->views[i];

        CHECK(counter_tag(view->shard) == counter_tag(call->view.shard) &&
              strcmp(view->replid, call->view.replid) == 0);
        request_int(request, view->shard);
        request_mark(request, view);
    }
}

size_t request_tenants_count(const struct request *request)
{
    return request->tenants.len / sizeof(int64_t);
}

int64_t request_tenant_at(const struct request *request, size_t index)
{
    int64_t tenant_id;

    memcpy(&tenant_id, request->tenants.data + (index - 1) * sizeof(tenant_id), sizeof(tenant_id));
    return tenant_id;
}

/* From the newest on: callers come tenant by tenant. */
size_t request_tenant(struct request *request, int64_t tenant_id)
{
    size_t count = request_tenants_count(request);

    for (size_t index = count; index > 0; index--)
        if (request_tenant_at(request, index) == tenant_id)
            return index;
    buffer_append(&request->tenants, &tenant_id, sizeof(tenant_id));
    return count + 1;
}

void request_finish(const struct request *request, const char *command, struct slice script,
                    struct buffer *out)
{
    char digits[DIGITS_MAX];
    size_t words = 3 + request->keys_count + request->args_count;

    buffer_append(out, "*", 1);
    buffer_append(out, digits, digits_write((int64_t)words, digits));
    buffer_append(out, "\r\n", 2);
    append_bulk(out, slice_from_cstr(command));
    append_bulk(out, script);
    append_bulk(out, slice_of(digits, digits_write((int64_t)request->keys_count, digits)));
    buffer_append(out, request->keys.data, request->keys.len);
    buffer_append(out, request->args.data, request->args.len);
}

void request_cursor(struct request *request, const char *cursor)
{
    request_text(request, slice_from_cstr(cursor));
}
