#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static _Atomic int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

bool log_level_from_name(struct slice name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_COUNT(level_names); i++) {
        if (slice_equal_cstr(name, level_names[i])) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Adds formatted text at *len and keeps it below LOG_LINE_MAX - 1, where the newline goes. */
static PRINTF_LIKE(3, 0) void line_append(char *line, size_t *len, const char *format, va_list args)
{
    size_t room = LOG_LINE_MAX - 1 - *len;
    int added = vsnprintf(line + *len, room, format, args);

    if (added > 0)
        *len += (size_t)added < room ? (size_t)added : room - 1;
}

static PRINTF_LIKE(3, 4) void line_add(char *line, size_t *len, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line_append(line, len, format, args);
    va_end(args);
}

static void line_begin(char *line, size_t *len, enum log_level level, const char *subject)
{
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    line_add(line, len, "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s subject=%s event=",
             utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
             now.tv_nsec / 1000000, level_names[level], subject);
}

static void line_write(char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[len++] = '\n';
    /* There is nobody to tell when stderr itself is broken. */
    if (write(STDERR_FILENO, line, len) < 0)
        return;
}

void log_line(enum log_level level, const char *subject, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    size_t len = 0;
    va_list args;

    if (level < log_get_level())
        return;
    line_begin(line, &len, level, subject);
    va_start(args, format);
    line_append(line, &len, format, args);
    va_end(args);
    line_write(line, len);
}

bool log_limit_pass(struct log_limit *limit, int64_t now_us, uint64_t *ret_suppressed)
{
    int64_t next_us = atomic_load(&limit->next_us);

    /* Of several threads that arrive together the one that moves the time speaks. */
    if (now_us < next_us ||
        !atomic_compare_exchange_strong(&limit->next_us, &next_us, now_us + 1000000)) {
        atomic_fetch_add(&limit->suppressed, 1);
        return false;
    }
    *ret_suppressed = atomic_exchange(&limit->suppressed, 0);
    return true;
}

void log_every(struct log_limit *limit, enum log_level level, const char *subject,
               const char *format, ...)
{
    char line[LOG_LINE_MAX];
    size_t len = 0;
    uint64_t suppressed;
    struct timespec now;
    va_list args;

    if (level < log_get_level())
        return;
    clock_gettime(CLOCK_BOOTTIME, &now);
    if (!log_limit_pass(limit, now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000, &suppressed))
        return;
    line_begin(line, &len, level, subject);
    va_start(args, format);
    line_append(line, &len, format, args);
    va_end(args);
    if (suppressed)
        line_add(line, &len, " suppressed=%llu", (unsigned long long)suppressed);
    line_write(line, len);
}

static bool needs_quotes(struct slice text)
{
    if (text.len == 0)
        return true;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
            return true;
    }
    return false;
}

/* The bytes that stand for c between quotes; at most 4, returned as their count. */
static size_t escape(unsigned char c, char out[5])
{
    if (c == '"' || c == '\\')
        return (size_t)snprintf(out, 5, "\\%c", c);
    if (c == '\n')
        return (size_t)snprintf(out, 5, "\\n");
    if (c < ' ' || c == 0x7f)
        return (size_t)snprintf(out, 5, "\\x%02x", c);
    out[0] = (char)c;
    return 1;
}

const char *log_value(struct log_value *scratch, struct slice text)
{
    /* Room kept for the closing quote, the dots and the NUL. */
    const size_t end = sizeof(scratch->text) - 5;
    bool quoted = needs_quotes(text);
    size_t len = 0;
    char bytes[5];

    if (quoted)
        scratch->text[len++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        size_t count = escape((unsigned char)text.data[i], bytes);

        if (len + count > end) {
            memcpy(scratch->text + len, "...", 3);
            len += 3;
            break;
        }
        memcpy(scratch->text + len, bytes, count);
        len += count;
    }
    if (quoted)
        scratch->text[len++] = '"';
    scratch->text[len] = '\0';
    return scratch->text;
}
