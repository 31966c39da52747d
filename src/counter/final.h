/*
 * FINAL markers: sets of jobs committed lately, one per tenant and bucket of five minutes. A bucket
 * lives for twenty minutes after its first job, so for fifteen after its last; reserve looks at the
 * current one and the two before, so a marker counts for ten minutes at least.
 */
#ifndef HOLDFAST_COUNTER_FINAL_H
#define HOLDFAST_COUNTER_FINAL_H

#include "counter/request.h"

#include <inttypes.h>
#include <stdint.h>

#define FINAL_BUCKET_MS INT64_C(300000)

/* The key of the bucket that is `back` before the one of now_ms. */
static inline void request_final_key(struct request *request, int64_t tenant_id, int64_t now_ms,
                                     int64_t back)
{
    request_key(request, "f:%" PRId64 ":%" PRId64, tenant_id, now_ms / FINAL_BUCKET_MS - back);
}

#endif
