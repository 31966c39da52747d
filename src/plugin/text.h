/*
 * A text that grows: what the generator writes its files into. One thread; frees with text_done.
 */
#ifndef HOLDFAST_PLUGIN_TEXT_H
#define HOLDFAST_PLUGIN_TEXT_H

#include "base/arena.h"

#include <stddef.h>

struct text {
    char *data; /* NUL-terminated once anything was added, else NULL */
    size_t len;
    size_t capacity;
};

void text_done(struct text *text);
void text_add(struct text *text, const char *data, size_t len);
void text_printf(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

/* A short text of its own in the arena, never NULL. */
const char *text_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
