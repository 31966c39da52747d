/*
 * What Redis should hold for shard 17, in the plainest C: the rules of lua/ without Redis.
 *
 * Small and fixed: tenants 1 and 2, limits 1 to 3 with period 0, jobs "j0" to "j119". Every call of
 * counter.h that changes something has a function here that fills the same `out` fields in.
 */
#ifndef HOLDFAST_TESTS_COUNTER_MODEL_H
#define HOLDFAST_TESTS_COUNTER_MODEL_H

#include "counter/counter.h"

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_TENANTS = 2, MODEL_LIMITS = 3, MODEL_JOBS = 120 };

struct model_hold {
    bool exists;
    struct attempt attempt;
    int64_t deadline_ms;
    int64_t created_ms;
    size_t quotas_count;
    struct hold_quota quotas[MODEL_LIMITS];
};

struct model_tenant {
    int64_t version; /* 0: none */
    struct counter_quota quotas[MODEL_LIMITS];
    int64_t filled[MODEL_LIMITS]; /* lease in c; 0: none */
    struct model_hold holds[MODEL_JOBS];
    int64_t final_generation[MODEL_JOBS]; /* newest; 0: none */
};

struct model {
    int64_t epoch;
    int64_t seq;
    int64_t generation, generation_since_ms; /* of FINAL marks; 0: none */
    bool marked, marked_before;              /* this generation has marks, and the one before */
    struct model_tenant tenants[MODEL_TENANTS];
};

void model_fill(struct model *model, struct counter_fill *fill);
void model_recall(struct model *model, struct counter_recall *recall);
void model_reserve(struct model *model, struct counter_reserve *reserve);
void model_notify(struct model *model, struct counter_notify *notify);
void model_reap(struct model *model, struct counter_reap *reap);
void model_extend(struct model *model, struct counter_extend *extend);

/* A quota is gone, or the whole of t, or c; as if by a hand. */
void model_lose_quota(struct model *model, int64_t tenant_id, int64_t limit_id);
void model_lose_tenant(struct model *model, int64_t tenant_id);

/* What check does besides: a generation of marks that is past its time gives way. */
void model_age_marks(struct model *model, int64_t now_ms);

/* c was lost and made anew from t. */
void model_rebuild_filled(struct model *model, int64_t tenant_id);

/* The hold as its entry parses; the job's own, or one with exists false. */
struct model_hold *model_hold(struct model *model, int64_t tenant_id, struct slice job);
bool model_attempt_equal(const struct model_hold *hold, struct attempt attempt);
bool model_entry_equal(const struct model_hold *hold, struct slice entry, struct arena *arena);

#endif
