#include "cli/room.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By meter, then those that are there, then by line. */
static int compare(const void *a, const void *b)
{
    const struct room_limit *left = a, *right = b;
    int order = strcmp(left->meter, right->meter);

    return order ? order : left->line - right->line;
}

/* True if what is reserved at `scope` counts against a limit at `above`. */
static bool counts_at(const char *scope, const char *above)
{
    size_t len = strlen(above);

    return len == 0 ||
           (strncmp(scope, above, len) == 0 && (scope[len] == '\0' || scope[len] == '/'));
}

/* The limits of one meter: those that count at each scope where one of them is. */
static bool check_meter(const struct room_limit *limits, size_t count, int64_t max,
                        struct room_refusal *ret)
{
    for (size_t place = 0; place < count; place++) {
        const struct room_limit *last = NULL;
        int64_t together = 0;

        for (size_t i = 0; i < count; i++) {
            if (!counts_at(limits[place].scope, limits[i].scope))
                continue;
            together++;
            if (together > max && limits[i].line) {
                last = &limits[i];
                break;
            }
        }
        if (!last)
            continue;
        ret->limit = *last;
        snprintf(ret->text, sizeof(ret->text),
                 "a reservation of %s%s%.256s would count against more than %" PRId64 " limits",
                 last->meter, *limits[place].scope ? " at " : "", limits[place].scope, max);
        return false;
    }
    return true;
}

/* The first that is added beyond the bound; NULL: none. */
static const struct room_limit *first_beyond(const struct room_limit *limits, size_t count,
                                             int64_t max)
{
    for (size_t i = (size_t)max; i < count; i++)
        if (limits[i].line)
            return &limits[i];
    return NULL;
}

bool room_check(struct room_limit *limits, size_t count, const struct room_bounds *bounds,
                struct room_refusal *ret)
{
    const struct room_limit *beyond =
        bounds->per_tenant > 0 ? first_beyond(limits, count, bounds->per_tenant) : NULL;

    if (beyond) {
        ret->limit = *beyond;
        snprintf(ret->text, sizeof(ret->text),
                 "the tenant would have %zu limits, and may have %" PRId64, count,
                 bounds->per_tenant);
        return false;
    }
    if (bounds->per_reservation <= 0 || count == 0)
        return true;
    qsort(limits, count, sizeof(*limits), compare);
    for (size_t at = 0, end; at < count; at = end) {
        for (end = at + 1; end < count && strcmp(limits[at].meter, limits[end].meter) == 0;)
            end++;
        if (end - at > (size_t)bounds->per_reservation &&
            !check_meter(&limits[at], end - at, bounds->per_reservation, ret))
            return false;
    }
    return true;
}
