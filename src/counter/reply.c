#include "counter/reply.h"

#include "counter/packed.h"

#include <hiredis.h>
#include <stdio.h>
#include <string.h>

static const struct redisReply *next(struct reply *reply)
{
    if (!reply->bad && reply->at < reply->root->elements)
        return reply->root->element[reply->at++];
    reply->bad = true;
    return NULL;
}

static struct slice text_of(const struct redisReply *element)
{
    return slice_of(element->str, element->len);
}

static bool is_text(const struct redisReply *element)
{
    return element && (element->type == REDIS_REPLY_STRING || element->type == REDIS_REPLY_STATUS);
}

bool reply_is_int(const struct reply *reply)
{
    return !reply->bad && reply->at < reply->root->elements &&
           reply->root->element[reply->at]->type == REDIS_REPLY_INTEGER;
}

int64_t reply_int(struct reply *reply)
{
    const struct redisReply *element = next(reply);
    int64_t value = 0;

    if (element && element->type == REDIS_REPLY_INTEGER)
        return element->integer;
    if (!is_text(element) || !slice_to_i64(text_of(element), &value))
        reply->bad = true;
    return value;
}

int reply_code(struct reply *reply, int max)
{
    int64_t value = reply_int(reply);

    if (value >= 0 && value <= max)
        return (int)value;
    reply->bad = true;
    return 0;
}

struct slice reply_text(struct reply *reply)
{
    const struct redisReply *element = next(reply);
    char *copy;

    if (!is_text(element)) {
        if (!element || element->type != REDIS_REPLY_NIL)
            reply->bad = true;
        return slice_of(NULL, 0);
    }
    copy = arena_strndup(reply->arena, element->str, element->len);
    if (!copy) {
        reply->no_memory = true;
        reply->bad = true;
        return slice_of(NULL, 0);
    }
    return slice_of(copy, element->len);
}

/* Takes the next element if it is nil. */
static bool take_nil(struct reply *reply)
{
    if (reply->bad || reply->at >= reply->root->elements ||
        reply->root->element[reply->at]->type != REDIS_REPLY_NIL)
        return false;
    reply->at++;
    return true;
}

struct slice reply_job(struct reply *reply)
{
    struct slice job = reply_text(reply), tenant;

    if (!slice_cut(&job, '=', &tenant) || !job.data)
        reply->bad = true;
    return job;
}

struct slice reply_peek_text(struct reply *reply)
{
    size_t at = reply->at;
    struct slice text = reply_text(reply);

    if (!reply->bad)
        reply->at = at;
    return text;
}

struct slice reply_hold(struct reply *reply)
{
    const struct redisReply *element = next(reply);
    struct slice hold = slice_of(NULL, 0);

    if (element && element->type == REDIS_REPLY_NIL)
        return hold;
    if (!is_text(element)) {
        reply->bad = true;
        return hold;
    }
    if (packed_hold_read(reply->arena, text_of(element), &hold, &reply->no_memory))
        return hold;
    reply->bad |= reply->no_memory;
    return SLICE("?");
}

void reply_quota(struct reply *reply, struct counter_quota *quota)
{
    const struct redisReply *element;

    *quota = (struct counter_quota){0};
    if (take_nil(reply)) {
        quota->lease_id = reply_int(reply);
        return;
    }
    element = next(reply);
    if (!is_text(element) || !packed_quota_read(text_of(element), quota))
        reply->bad = true;
    reply->crossed |= quota->crossed;
}

size_t reply_reached(struct reply *reply, struct reached *ret)
{
    const struct redisReply *element = next(reply);
    size_t count = 0;

    if (!is_text(element) || !packed_reached_read(text_of(element), ret, &count))
        reply->bad = true;
    return reply->bad ? 0 : count;
}

struct quota_ref reply_ref(struct reply *reply)
{
    struct quota_ref ref = {0};

    if (!packed_ref_read(reply_text(reply), &ref))
        reply->bad = true;
    return ref;
}

size_t reply_left(const struct reply *reply)
{
    return reply->bad ? 0 : reply->root->elements - reply->at;
}

void *reply_array(struct reply *reply, size_t count, size_t size)
{
    void *array = arena_array(reply->arena, count, size);

    if (!array) {
        reply->no_memory = true;
        reply->bad = true;
    }
    return array;
}

/* Errors that Redis gives instead of running a script, or before its first write. */
static bool nothing_ran(struct slice error)
{
    static const char *const words[] = {
        "LOADING ",
        "MISCONF ",
        "OOM ",
        "READONLY ",
        "BUSY ",
        "NOREPLICAS ",
        "MASTERDOWN ",
        "CLUSTERDOWN ",
        "MOVED ",
        "ASK ",
        "TRYAGAIN ",
        "CROSSSLOT ",
        "NOAUTH ",
        "NOPERM ",
        "DENIED ",
        "ERR max number of clients",
        "ERR unknown command",
    };

    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (slice_starts_with(error, slice_from_cstr(words[i])))
            return true;
    return false;
}

static enum reply_head failed(const struct redisReply *root, struct counter_call *call)
{
    struct slice error = text_of(root);

    if (slice_starts_with(error, SLICE("NOSCRIPT ")))
        return REPLY_NO_SCRIPT;
    if (slice_starts_with(error, SLICE("BADARG ")))
        call->status = STATUS_INVALID;
    else
        call->status = nothing_ran(error) ? STATUS_UNAVAILABLE : STATUS_CORRUPT;
    return REPLY_FAILED;
}

static bool copy_text(struct reply *reply, char *out, size_t room)
{
    const struct redisReply *element = next(reply);

    if (!is_text(element) || element->len >= room)
        return false;
    memcpy(out, element->str, element->len);
    out[element->len] = '\0';
    return true;
}

/* role, replid, epoch, nonce, layout, and from observe the maxmemory-policy */
static bool read_observed(struct reply *reply, struct counter_observed *observed)
{
    char role[16];
    char policy[32];

    *observed = (struct counter_observed){0};
    if (!copy_text(reply, role, sizeof(role)) ||
        !copy_text(reply, observed->replid, sizeof(observed->replid)))
        return false;
    observed->master = strcmp(role, "master") == 0;
    observed->epoch = reply_int(reply);
    if (!copy_text(reply, observed->nonce, sizeof(observed->nonce)))
        return false;
    observed->layout = reply_code(reply, INT32_MAX);
    if (reply_left(reply) > 0) {
        if (!copy_text(reply, policy, sizeof(policy)))
            return false;
        observed->evicts = strcmp(policy, "noeviction") != 0;
    }
    return !reply->bad && reply_left(reply) == 0;
}

/* init and observe: does Redis agree with the view now? */
static enum counter_guard judge(const struct counter_call *call)
{
    const struct counter_observed *observed = &call->observed;

    return observed->master && observed->layout == COUNTER_LAYOUT &&
                   strcmp(observed->replid, call->view.replid) == 0 &&
                   observed->epoch == call->view.epoch &&
                   strcmp(observed->nonce, call->view.nonce) == 0
               ? GUARD_PASSED
               : GUARD_LOST;
}

bool reply_doubts_address(const struct counter_call *call)
{
    return call->kind != COUNTER_INIT && call->kind != COUNTER_OBSERVE &&
           call->status == STATUS_OK && call->guard == GUARD_LOST &&
           (!call->observed.master || strcmp(call->observed.replid, call->view.replid) != 0);
}

enum reply_head reply_open(struct reply *reply, const struct redisReply *root,
                           struct counter_call *call)
{
    const struct redisReply *head;

    *reply = (struct reply){.root = root, .arena = call->arena};
    if (root->type == REDIS_REPLY_ERROR)
        return failed(root, call);
    call->status = STATUS_CORRUPT;
    if (root->type != REDIS_REPLY_ARRAY)
        return REPLY_FAILED;
    head = next(reply);
    if (!is_text(head))
        return REPLY_FAILED;
    if (slice_equal(text_of(head), SLICE("OK")))
        return REPLY_ANSWER;
    if (!slice_equal(text_of(head), SLICE("LOST")) && !slice_equal(text_of(head), SLICE("SEEN")))
        return REPLY_FAILED;
    if (!read_observed(reply, &call->observed))
        return REPLY_FAILED;
    call->guard = slice_equal(text_of(head), SLICE("LOST")) ? GUARD_LOST : judge(call);
    call->status = STATUS_OK;
    return REPLY_OBSERVED;
}

void reply_chars(struct reply *reply, char *ret, size_t chars)
{
    struct slice text = reply_text(reply);

    if (text.len > chars) {
        reply->bad = true;
        return;
    }
    if (text.len > 0)
        memcpy(ret, text.data, text.len);
    ret[text.len] = '\0';
}

void reply_cursor(struct reply *reply, char ret[COUNTER_CURSOR_CHARS + 1])
{
    reply_chars(reply, ret, COUNTER_CURSOR_CHARS);
    reply->bad |= !ret[0];
}
