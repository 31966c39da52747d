/*
 * Since when has something been as it is? A bounded memory of many things, each known by a key and looked at
 * again and again; its print tells whether it has changed in between.
 *
 * Things share STILL_WAYS places with those whose keys fall together. What was not looked at for longest
 * leaves its place to what is new, but not before forget_us: among more than STILL_WAYS that are all looked
 * at, some have a place and the others wait for one, so they do not keep each other from ever being still.
 *
 * One thread at a time.
 */
#ifndef HOLDFAST_BASE_STILL_H
#define HOLDFAST_BASE_STILL_H

#include <stddef.h>
#include <stdint.h>

enum { STILL_WAYS = 8 };

struct still;

struct still_entry {
    int64_t since_us; /* of the first look that found it like this */
    int64_t own_us;   /* the caller's own, kept while the thing has its place; 0 at first */
};

/* places: a power of two, at least STILL_WAYS. */
struct still *still_create(size_t places, int64_t forget_us);
void still_destroy(struct still *still); /* accepts NULL */

/* A look. Valid until the next one. NULL: it has no place now. now_us never falls, and is above 0. */
struct still_entry *still_look(struct still *still, uint64_t key, uint64_t print, int64_t now_us);

#endif
