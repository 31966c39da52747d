#include "counter/reply.h"

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

bool reply_nil(struct reply *reply)
{
    if (reply->bad || reply->at >= reply->root->elements ||
        reply->root->element[reply->at]->type != REDIS_REPLY_NIL)
        return false;
    reply->at++;
    return true;
}

void reply_quota(struct reply *reply, struct counter_quota *quota)
{
    *quota = (struct counter_quota){0};
    quota->exists = !reply_nil(reply);
    quota->lease_id = reply_int(reply);
    if (!quota->exists)
        return;
    quota->granted = reply_int(reply);
    quota->returned = reply_int(reply);
    quota->spent = reply_int(reply);
    quota->held = reply_int(reply);
    quota->lease_deadline_ms = reply_int(reply);
    quota->used = reply_int(reply);
    quota->used_seq = reply_int(reply);
    quota->debt = reply_int(reply);
    quota->withheld = reply_int(reply);
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
        "LOADING ",  "MISCONF ",    "OOM ",         "READONLY ", "BUSY ",   "NOREPLICAS ",
        "MASTERDOWN ", "CLUSTERDOWN ", "MOVED ", "ASK ", "TRYAGAIN ", "CROSSSLOT ",
        "NOAUTH ",   "NOPERM ",     "ERR max number of clients",
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

/* role, replid, epoch, nonce, and from observe the maxmemory-policy */
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

    return observed->master && strcmp(observed->replid, call->view.replid) == 0 &&
                   observed->epoch == call->view.epoch &&
                   strcmp(observed->nonce, call->view.nonce) == 0
               ? GUARD_PASSED
               : GUARD_LOST;
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
