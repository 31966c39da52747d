#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *function, const char *expression)
{
    fprintf(stderr, "CHECK failed at %s:%d in %s: %s\n", file, line, function, expression);
    abort();
}

void check_failed_message(const char *file, int line, const char *function, const char *expression,
                          const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "CHECK failed at %s:%d in %s: %s (%s)\n", file, line, function, expression,
            text);
    abort();
}
