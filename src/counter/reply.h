/*
 * What Redis answered, read element by element. The only place that looks into hiredis' replies.
 *
 * A cursor over the flat array that every script returns. An element of another type than asked for
 * turns the cursor bad, and so does the end; a bad cursor gives 0 and empty texts, so a reader asks
 * once, at the end. Texts are copied into the arena. One thread.
 */
#ifndef HOLDFAST_COUNTER_REPLY_H
#define HOLDFAST_COUNTER_REPLY_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "counter/counter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply;

struct reply {
    const struct redisReply *root;
    size_t at;
    struct arena *arena;
    bool bad;
    bool no_memory; /* of the arena */
    bool crossed;   /* see struct counter_call */
};

enum reply_head {
    REPLY_ANSWER,    /* the script's own answer follows */
    REPLY_OBSERVED,  /* call->guard and call->observed are set; nothing follows */
    REPLY_NO_SCRIPT, /* Redis does not know the script; nothing ran */
    REPLY_FAILED,    /* call->status says how */
};

/* Reads what all scripts have in common; may set status, guard and observed of the call. */
enum reply_head reply_open(struct reply *reply, const struct redisReply *root,
                           struct counter_call *call);

/*
 * The guard of this answered call found another Redis, or a replica: the connection may be left over from
 * a time when the address led elsewhere. Never true of init and observe, which look at whatever is there.
 */
bool reply_doubts_address(const struct counter_call *call);

/* Is the next element an integer? */
bool reply_is_int(const struct reply *reply);

/* An integer, or a text that is a decimal number. */
int64_t reply_int(struct reply *reply);

/* A number from 0 to max. */
int reply_code(struct reply *reply, int max);

/* nil: the empty slice. */
struct slice reply_text(struct reply *reply);

/* A text of at most `chars` bytes, ended by a 0 in ret. Longer: the cursor turns bad. */
void reply_chars(struct reply *reply, char *ret, size_t chars);

/* Of a scan. */
void reply_cursor(struct reply *reply, char ret[COUNTER_CURSOR_CHARS + 1]);

/* The job of a "tenant=job". */
struct slice reply_job(struct reply *reply);

/* As reply_text, and the element stays the next one. */
struct slice reply_peek_text(struct reply *reply);

/*
 * A hold, in the form of quota/hold.h; nil: the empty slice. What cannot be read is "?", which is no hold
 * either: one such hold does not spoil the answer about all others.
 */
struct slice reply_hold(struct reply *reply);

/* The quota's text, or nil and the lease of the past. */
void reply_quota(struct reply *reply, struct counter_quota *quota);

/* What is pending of one (lua/levels.lua); room for REACHED_MAX. */
size_t reply_reached(struct reply *reply, struct reached *ret);

/* The name of a quota (packed.h). */
struct quota_ref reply_ref(struct reply *reply);

/* Elements that are left. */
size_t reply_left(const struct reply *reply);

/* count * size zeroed bytes of the arena; NULL turns the cursor bad. */
void *reply_array(struct reply *reply, size_t count, size_t size);

#endif
