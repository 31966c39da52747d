#include "cli/trace.h"

#include "base/amount.h"
#include "cli/amounts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEADER "TIMESTAMP,ContextTokens,GeneratedTokens"

/* "2023-11-16 18:15:46.6805900" as microseconds since 1970. */
static bool parse_time(const char *text, int64_t *ret_us)
{
    struct tm parts = {0};
    int64_t fraction_us = 0, scale = 100000;
    int used = 0;

    /* NOLINTNEXTLINE(cert-err34-c): the widths leave nothing to overflow; ranges are checked below */
    if (sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
               &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &used) != 6)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    text += used;
    if (*text == '.') {
        for (text++; *text >= '0' && *text <= '9'; text++, scale /= 10)
            fraction_us += (*text - '0') * scale;
    }
    if (*text)
        return false;
    *ret_us = (int64_t)timegm(&parts) * 1000000 + fraction_us;
    return true;
}

/* Cuts the line in place. NULL if it is good, else what is wrong with it. */
static const char *parse_line(char *line, struct trace_row *ret)
{
    char *context = strchr(line, ',');
    char *generated = context ? strchr(context + 1, ',') : NULL;

    if (!generated || strchr(generated + 1, ','))
        return "three fields expected";
    *context++ = '\0';
    *generated++ = '\0';
    if (!parse_time(line, &ret->at_us))
        return "TIMESTAMP is not like 2023-11-16 18:15:46.680";
    if (!amount_parse(context, &ret->context_units) || !amount_valid(ret->context_units))
        return "ContextTokens is not a whole number from 0 to 2^53-1";
    if (!amount_parse(generated, &ret->generated_units) || !amount_valid(ret->generated_units))
        return "GeneratedTokens is not a whole number from 0 to 2^53-1";
    return NULL;
}

static void append(struct trace *trace, const struct trace_row *row)
{
    if ((trace->count & (trace->count - 1)) == 0 && (trace->count == 0 || trace->count >= 64)) {
        size_t room = trace->count ? trace->count * 2 : 64;

        trace->rows = reallocarray(trace->rows, room, sizeof(*trace->rows));
        CHECK(trace->rows);
    }
    trace->rows[trace->count++] = *row;
}

/* Times from the first row on; a row out of order counts as simultaneous with the one before. */
static void make_relative(struct trace *trace)
{
    int64_t first_us = trace->count ? trace->rows[0].at_us : 0;

    for (size_t i = 0; i < trace->count; i++) {
        trace->rows[i].at_us -= first_us;
        if (i > 0 && trace->rows[i].at_us < trace->rows[i - 1].at_us)
            trace->rows[i].at_us = trace->rows[i - 1].at_us;
    }
}

bool trace_read(FILE *file, struct trace *ret, char ret_error[TRACE_ERROR_BYTES])
{
    struct trace trace = {0};
    char *line = NULL;
    size_t line_bytes = 0, number = 0;
    const char *wrong = NULL;

    while (!wrong && getline(&line, &line_bytes, file) >= 0) {
        struct trace_row row;

        line[strcspn(line, "\r\n")] = '\0';
        if (++number == 1) {
            wrong = strcmp(line, HEADER) == 0 ? NULL : "the header must be " HEADER;
            continue;
        }
        if (!*line)
            continue;
        wrong = parse_line(line, &row);
        if (!wrong)
            append(&trace, &row);
    }
    if (!wrong && ferror(file))
        wrong = strerror(errno);
    else if (!wrong && number == 0)
        wrong = "the file is empty";
    free(line);
    if (wrong) {
        if (number == 0)
            snprintf(ret_error, TRACE_ERROR_BYTES, "%s", wrong);
        else
            snprintf(ret_error, TRACE_ERROR_BYTES, "line %zu: %s", number, wrong);
        trace_done(&trace);
        return false;
    }
    make_relative(&trace);
    *ret = trace;
    return true;
}

void trace_done(struct trace *trace)
{
    free(trace->rows);
    *trace = (struct trace){0};
}
