/*
 * The kinds of calls: each has a script, writes its KEYS and ARGV, and reads its result.
 */
#ifndef HOLDFAST_COUNTER_KIND_H
#define HOLDFAST_COUNTER_KIND_H

#include "base/check.h"
#include "counter/counter.h"
#include "counter/reply.h"
#include "counter/request.h"

#include <stdbool.h>

enum { COUNTER_KINDS = COUNTER_OBSERVE + 1 };

struct kind {
    const char *name;
    const char *script;
    /* After request_open. False: no memory left in the call's arena. */
    bool (*write)(struct request *request, struct counter_call *call);
    /* After REPLY_ANSWER; reply->bad says that it was not readable. NULL: there is no such answer. */
    void (*read)(struct reply *reply, struct counter_call *call);
};

const struct kind *kind_of(enum counter_kind kind);

bool write_reserve(struct request *request, struct counter_call *call);
void read_reserve(struct reply *reply, struct counter_call *call);
bool write_fill(struct request *request, struct counter_call *call);
void read_fill(struct reply *reply, struct counter_call *call);
bool write_notify(struct request *request, struct counter_call *call);
void read_notify(struct reply *reply, struct counter_call *call);
bool write_lookup(struct request *request, struct counter_call *call);
void read_lookup(struct reply *reply, struct counter_call *call);
bool write_extend(struct request *request, struct counter_call *call);
void read_extend(struct reply *reply, struct counter_call *call);
bool write_retake(struct request *request, struct counter_call *call);
void read_retake(struct reply *reply, struct counter_call *call);
bool write_due(struct request *request, struct counter_call *call);
void read_due(struct reply *reply, struct counter_call *call);
bool write_discard(struct request *request, struct counter_call *call);
void read_discard(struct reply *reply, struct counter_call *call);
bool write_reap(struct request *request, struct counter_call *call);
void read_reap(struct reply *reply, struct counter_call *call);
bool write_recall(struct request *request, struct counter_call *call);
void read_recall(struct reply *reply, struct counter_call *call);
bool write_read(struct request *request, struct counter_call *call);
void read_read(struct reply *reply, struct counter_call *call);
bool write_holds(struct request *request, struct counter_call *call);
void read_holds(struct reply *reply, struct counter_call *call);
bool write_survey(struct request *request, struct counter_call *call);
void read_survey(struct reply *reply, struct counter_call *call);
bool write_check(struct request *request, struct counter_call *call);
void read_check(struct reply *reply, struct counter_call *call);
bool write_rebuild(struct request *request, struct counter_call *call);
void read_rebuild(struct reply *reply, struct counter_call *call);
bool write_register(struct request *request, struct counter_call *call);
void read_register(struct reply *reply, struct counter_call *call);
bool write_forget(struct request *request, struct counter_call *call);
void read_forget(struct reply *reply, struct counter_call *call);
bool write_clean(struct request *request, struct counter_call *call);
void read_clean(struct reply *reply, struct counter_call *call);
bool write_crossed(struct request *request, struct counter_call *call);
void read_crossed(struct reply *reply, struct counter_call *call);
bool write_told(struct request *request, struct counter_call *call);
void read_told(struct reply *reply, struct counter_call *call);
bool write_init(struct request *request, struct counter_call *call);
bool write_observe(struct request *request, struct counter_call *call);

#endif
