#include "plugin/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_reserve(struct text *text, size_t more)
{
    size_t wanted = text->len + more + 1;

    if (wanted <= text->capacity)
        return;
    text->capacity = wanted < 2 * text->capacity ? 2 * text->capacity : wanted;
    text->data = realloc(text->data, text->capacity);
    CHECK(text->data);
}

void text_done(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

void text_add(struct text *text, const char *data, size_t len)
{
    text_reserve(text, len);
    if (len)
        memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    text_reserve(text, (size_t)len);
    va_start(args, format);
    vsnprintf(text->data + text->len, (size_t)len + 1, format, args);
    va_end(args);
    text->len += (size_t)len;
}

const char *text_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    char *result;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    result = arena_alloc(arena, (size_t)len + 1);
    CHECK(result);
    va_start(args, format);
    vsnprintf(result, (size_t)len + 1, format, args);
    va_end(args);
    return result;
}
