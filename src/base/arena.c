#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16, CHUNK_MAX_BYTES = 1 << 20, PRINTF_SMALL_BYTES = 128 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    size_t used;
    alignas(ALIGNMENT) char data[];
};

static struct arena_chunk *chunk_create(size_t size)
{
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + size);

    CHECK_MSG(chunk, "out of memory: %zu bytes", size);
    chunk->next = NULL;
    chunk->size = size;
    chunk->used = 0;
    return chunk;
}

static void chunks_free(struct arena_chunk *chunk)
{
    while (chunk) {
        struct arena_chunk *next = chunk->next;

        free(chunk);
        chunk = next;
    }
}

void arena_init(struct arena *arena, size_t first_chunk_bytes, size_t limit_bytes)
{
    CHECK(first_chunk_bytes >= ALIGNMENT && limit_bytes >= ALIGNMENT);
    *arena = (struct arena){.first_chunk_bytes = first_chunk_bytes, .limit_bytes = limit_bytes};
}

void arena_done(struct arena *arena)
{
    chunks_free(arena->first);
    arena->first = NULL;
    arena->current = NULL;
    arena->used_bytes = 0;
}

void arena_reset(struct arena *arena)
{
    arena->used_bytes = 0;
    arena->current = arena->first;
    if (!arena->first)
        return;
    chunks_free(arena->first->next);
    arena->first->next = NULL;
    arena->first->used = 0;
}

/* Chunks double so that a large request costs few of them, and no piece ever spans two. */
static void arena_grow(struct arena *arena, size_t size)
{
    size_t wanted = arena->first_chunk_bytes;
    struct arena_chunk *chunk;

    if (arena->current)
        wanted =
            arena->current->size < CHUNK_MAX_BYTES / 2 ? arena->current->size * 2 : CHUNK_MAX_BYTES;
    chunk = chunk_create(size > wanted ? size : wanted);
    if (arena->current)
        arena->current->next = chunk;
    else
        arena->first = chunk;
    arena->current = chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t rounded = size ? size : 1;
    void *piece;

    if (rounded > SIZE_MAX - (ALIGNMENT - 1))
        return NULL;
    rounded = (rounded + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (rounded > arena->limit_bytes - arena->used_bytes)
        return NULL;
    if (!arena->current || rounded > arena->current->size - arena->current->used)
        arena_grow(arena, rounded);
    piece = arena->current->data + arena->current->used;
    arena->current->used += rounded;
    arena->used_bytes += rounded;
    return piece;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    void *piece = arena_alloc(arena, size);

    return piece ? memset(piece, 0, size) : NULL;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return arena_zalloc(arena, total);
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    char *copy;

    if (len == SIZE_MAX)
        return NULL;
    copy = arena_alloc(arena, len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    char small[PRINTF_SMALL_BYTES]; /* most texts fit, and need not be printed twice */
    va_list args;
    char *text;
    int len;

    va_start(args, format);
    len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    CHECK(len >= 0);
    text = arena_alloc(arena, (size_t)len + 1);
    if (!text)
        return NULL;
    if ((size_t)len < sizeof(small))
        return memcpy(text, small, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used_bytes;
}
