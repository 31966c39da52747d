#include "cli/duration.h"

#include "quota/times.h"

#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define SECOND_US (SECOND_IN_MS * 1000)
#define MINUTE_US (MINUTE_IN_MS * 1000)
#define HOUR_US (HOUR_IN_MS * 1000)
#define DAY_US (DAY_IN_MS * 1000)
#define DURATION_MAX_US (36525 * DAY_US)

static const struct {
    const char *name;
    int64_t us;
} units[] = {
    {"us", 1}, {"ms", 1000}, {"s", SECOND_US}, {"m", MINUTE_US}, {"h", HOUR_US}, {"d", DAY_US},
};

/* The unit at *text, which is moved past it; 0 if there is none. */
static int64_t take_unit(const char **text)
{
    size_t len = 0;

    while (isalpha((unsigned char)(*text)[len]))
        len++;
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (strlen(units[i].name) == len && memcmp(units[i].name, *text, len) == 0) {
            *text += len;
            return units[i].us;
        }
    }
    return 0;
}

/* A number without sign or exponent at *text, which is moved past it. */
static bool take_number(const char **text, double *ret)
{
    double value = 0, scale = 1;
    bool digits = false;

    for (; isdigit((unsigned char)**text); (*text)++) {
        value = value * 10 + (**text - '0');
        digits = true;
    }
    if (**text == '.') {
        (*text)++;
        for (; isdigit((unsigned char)**text); (*text)++) {
            scale /= 10;
            value += (**text - '0') * scale;
            digits = true;
        }
    }
    *ret = value;
    return digits;
}

bool duration_parse(const char *text, int64_t *ret_us)
{
    double sum_us = 0;
    int64_t unit_before_us = INT64_MAX;

    if (strcmp(text, "0") == 0) {
        *ret_us = 0;
        return true;
    }
    if (!*text)
        return false;
    while (*text) {
        double number;
        int64_t unit_us;

        if (!take_number(&text, &number))
            return false;
        unit_us = take_unit(&text);
        if (!unit_us || unit_us >= unit_before_us) /* "1h30m", neither "30m1h" nor "1h1h" */
            return false;
        unit_before_us = unit_us;
        sum_us += number * (double)unit_us;
        if (sum_us > (double)DURATION_MAX_US)
            return false;
    }
    *ret_us = (int64_t)(sum_us + 0.5);
    return true;
}

void duration_option(const struct argp_state *state, const char *name, const char *text,
                     int64_t *ret_us)
{
    size_t digits = strspn(text, "0123456789.");

    if (*text && digits == strlen(text) && strcmp(text, "0") != 0)
        argp_error(state, "--%s: \"%s\" has no unit; write %ss, %sms or %sm", name, text, text,
                   text, text);
    else if (!duration_parse(text, ret_us))
        argp_error(state, "--%s: \"%s\" is not a duration such as 500ms, 30s, 15m or 1h30m", name,
                   text);
    else if (*ret_us <= 0)
        argp_error(state, "--%s: it must be longer than 0", name);
}

/* "1.2ms", "12.3ms", "123ms": three digits at most, unless there are more before the point. */
static void format_decimal(char *text, size_t size, const char *sign, double value,
                           const char *unit)
{
    if (value < 99.95)
        snprintf(text, size, "%s%.1f%s", sign, value, unit);
    else
        snprintf(text, size, "%s%.0f%s", sign, value, unit);
}

const char *duration_format(int64_t us, char text[DURATION_TEXT_BYTES])
{
    const char *sign = us < 0 ? "-" : "";
    const size_t size = DURATION_TEXT_BYTES;

    if (us < -DURATION_MAX_US || us > DURATION_MAX_US)
        us = DURATION_MAX_US;
    if (us < 0)
        us = -us;
    if (us == 0)
        snprintf(text, size, "0s");
    else if (us < 1000)
        snprintf(text, size, "%s%" PRId64 "us", sign, us);
    else if (us < SECOND_US)
        format_decimal(text, size, sign, (double)us / 1000, "ms");
    else if (us < MINUTE_US)
        format_decimal(text, size, sign, (double)us / 1e6, "s");
    else if (us < HOUR_US)
        snprintf(text, size, "%s%" PRId64 "m%02" PRId64 "s", sign, us / MINUTE_US,
                 us % MINUTE_US / SECOND_US);
    else if (us < DAY_US)
        snprintf(text, size, "%s%" PRId64 "h%02" PRId64 "m", sign, us / HOUR_US,
                 us % HOUR_US / MINUTE_US);
    else
        snprintf(text, size, "%s%" PRId64 "d%02" PRId64 "h", sign, us / DAY_US,
                 us % DAY_US / HOUR_US);
    return text;
}
