/*
 * The reservation id: a hold with its tenant and job, signed (token_seal.h).
 *
 * It carries all that a commit needs, because after a loss of Redis nothing else knows the hold. It
 * is a bearer token: whoever has it can commit, so it is never logged; log the attempt instead.
 *
 * The body is a record of varints and strings (base/bytes.h):
 *
 *     tenant, job_id, epoch, seq, deadline_ms, created_ms, scope, mode,
 *     count of meters, for each: name, units
 *     count of quotas, for each: index of the meter, limit_id, period_start_ms, lease_id, units
 *
 * Other fields mean another version byte in the seal.
 */
#ifndef HOLDFAST_QUOTA_TOKEN_H
#define HOLDFAST_QUOTA_TOKEN_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "quota/hold.h"
#include "quota/token_seal.h"

#include <stdbool.h>

struct token {
    struct slice tenant;
    struct slice job_id;
    struct hold hold;
};

/*
 * The reservation id, NUL-terminated; NULL past the arena's limit. The hold is within the bounds of
 * hold.h and no number in it is negative; anything else is a bug.
 */
MUST_CHECK char *token_issue(struct token_seal *seal, struct arena *arena,
                             const struct token *token);

enum token_verdict {
    TOKEN_GENUINE,
    TOKEN_FORGED, /* not issued by us for this tenant: altered, cut, another's, no token, or of a hold
                        that is not sound (hold.h) */
    TOKEN_NO_MEMORY, /* past the arena's limit */
};

/*
 * Reads a reservation id of the tenant. Only a genuine one writes *ret_token; what it points to is
 * in the arena. Says nothing about whether the hold is still live.
 */
MUST_CHECK enum token_verdict token_verify(struct token_seal *seal, struct arena *arena,
                                           struct slice tenant, struct slice text,
                                           struct token *ret_token);

/*
 * The tenant that a reservation id or a receipt names (it comes first in both), before anything in it
 * is verified: only good for choosing the tenant to verify with. False: not even the shape of one.
 * *ret_tenant is in the arena.
 */
MUST_CHECK bool token_tenant(enum token_purpose purpose, struct arena *arena, struct slice text,
                             struct slice *ret_tenant);

#endif
