/*
 * Memory freed by lifetime: allocate piece by piece, free all at once.
 *
 * An arena belongs to one thread at a time; handing it over hands over everything in it. The limit
 * protects the process from a request that wants too much: past it arena_alloc answers NULL and the
 * caller refuses the request. When the machine itself has no memory the process aborts.
 */
#ifndef HOLDFAST_BASE_ARENA_H
#define HOLDFAST_BASE_ARENA_H

#include "base/check.h"

#include <stddef.h>

struct arena_chunk;

/* Fields are private; the struct is here so that it can be a member. */
struct arena {
    struct arena_chunk *first;   /* kept by arena_reset; NULL until the first allocation */
    struct arena_chunk *current; /* the last chunk, where the next piece comes from */
    size_t first_chunk_bytes;
    size_t limit_bytes;
    size_t used_bytes; /* handed out since the last reset, each piece rounded up to 16 */
};

/* Allocates nothing yet. Both sizes are at least 16. */
void arena_init(struct arena *arena, size_t first_chunk_bytes, size_t limit_bytes);

/* Frees everything; the arena may be used again as after arena_init. Accepts a zeroed arena. */
void arena_done(struct arena *arena);

/* Forgets every piece and keeps only the first chunk, ready for the next request. */
void arena_reset(struct arena *arena);

/* 16-aligned, uninitialised memory; size 0 gives a pointer of its own. NULL: past the limit. */
MUST_CHECK void *arena_alloc(struct arena *arena, size_t size);

/* As arena_alloc, filled with zeros. */
MUST_CHECK void *arena_zalloc(struct arena *arena, size_t size);

/* As arena_zalloc for count elements; NULL as well when count * size overflows. */
MUST_CHECK void *arena_array(struct arena *arena, size_t count, size_t size);

/* A NUL-terminated copy of the len bytes at text. NULL: past the limit. */
MUST_CHECK char *arena_strndup(struct arena *arena, const char *text, size_t len);

/* The formatted text. NULL: past the limit. */
MUST_CHECK char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *arena);

#endif
