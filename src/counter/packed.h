/*
 * How Redis keeps what C writes in another form (lua/quota.lua, lua/hold.lua): the names of quotas, their
 * numbers, and holds as texts that are shorter than those of quota/hold.h. Pure; any thread.
 *
 * A text that is not of the form asked for gives false: it comes from a store.
 */
#ifndef HOLDFAST_COUNTER_PACKED_H
#define HOLDFAST_COUNTER_PACKED_H

#include "base/arena.h"
#include "base/check.h"
#include "base/digits.h"
#include "base/slice.h"
#include "counter/counter.h"
#include "quota/hold.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    PACKED_REF_MAX = 2 * DIGITS_MAX + 2,
    PACKED_PLACES = 256, /* in the index of holds, for each millisecond (lua/index.lua) */
};

/*
 * The name of a quota, "limit:period": period in minutes since 1970, or in milliseconds with an m
 * behind it where it does not start with a minute. Returns its length; no NUL.
 */
size_t packed_ref_write(struct quota_ref ref, char *out);
MUST_CHECK bool packed_ref_read(struct slice name, struct quota_ref *ret);

/* "H L G B S D C Cv Cd W E", and perhaps a level (lua/levels.lua); sets exists. */
MUST_CHECK bool packed_quota_read(struct slice text, struct counter_quota *ret);

/* "lease:n:level:soft:amount:cap:C:Cv:Cd:H;..." */
MUST_CHECK bool packed_reached_read(struct slice text, struct reached ret[REACHED_MAX],
                                    size_t *ret_count);

/* The hold's text as hold_parse takes it, in the arena. *ret_no_memory: that was why it failed. */
MUST_CHECK bool packed_hold_read(struct arena *arena, struct slice packed, struct slice *ret,
                                 bool *ret_no_memory);

/* What such a text has between its head and its first bar; NULL past the arena's limit. */
MUST_CHECK char *packed_hold_quotas(struct arena *arena, const struct hold *hold);

#endif
