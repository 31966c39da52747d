/*
 * Is there room for the limits that a file adds? What the server bounds is the sum of all limits of a
 * tenant, so its answer to one of them at a time says nothing about all of them together. GetStatus
 * tells the bounds; here they are applied, as PutLimit does (admin_service.proto).
 *
 * Pure; any thread.
 */
#ifndef HOLDFAST_CLI_ROOM_H
#define HOLDFAST_CLI_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A limit as it is or is to be. */
struct room_limit {
    const char *limit_id;
    const char *scope;
    const char *meter;
    int line; /* of the file that adds it; 0: it is there already */
};

/* 0: not known, and everything fits. */
struct room_bounds {
    int64_t per_tenant;
    int64_t per_reservation; /* of one meter, at whatever scope */
};

enum { ROOM_TEXT_BYTES = 320 };

/* What does not fit: a sentence, and the limit that it begins with. */
struct room_refusal {
    struct room_limit limit;
    char text[ROOM_TEXT_BYTES];
};

/*
 * The limits of one tenant: those that are there, then those that are added, in the order of the file.
 * They are sorted anew. False: *ret tells what does not fit.
 */
bool room_check(struct room_limit *limits, size_t count, const struct room_bounds *bounds,
                struct room_refusal *ret);

#endif
