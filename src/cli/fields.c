#include "cli/fields.h"

#include "base/check.h"
#include "cli/print.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

enum { SOFT_PERCENT_DEFAULT = 90 };

__attribute__((format(printf, 3, 4))) static void add(struct fields *fields, const char *name,
                                                      const char *format, ...)
{
    struct field_text *field = &fields->list[fields->count++];
    va_list arguments;

    CHECK(fields->count <= FIELDS_MAX);
    field->name = name;
    va_start(arguments, format);
    vsnprintf(field->text, FIELD_TEXT_BYTES, format, arguments);
    va_end(arguments);
}

void fields_of_tenant(const Holdfast__V1__Tenant *tenant, struct fields *ret)
{
    bool suspended = tenant->state == HOLDFAST__V1__TENANT_STATE__TENANT_STATE_SUSPENDED;

    ret->count = 0;
    add(ret, "display_name", "\"%s\"", tenant->display_name);
    add(ret, "suspended", "%s", suspended ? "true" : "false");
    add(ret, "admit_unlimited_meters", "%s", tenant->admit_unlimited_meters ? "true" : "false");
}

static void add_period(struct fields *fields, Holdfast__V1__Period period)
{
    struct field_text *field = &fields->list[fields->count];

    add(fields, "period", "%s", print_period(period));
    for (char *at = field->text; *at; at++)
        *at = (char)tolower((unsigned char)*at);
}

static void add_anchor(struct fields *fields, const Google__Protobuf__Timestamp *anchor)
{
    time_t second = anchor ? (time_t)anchor->seconds : 0;
    char text[32];
    struct tm tm;

    gmtime_r(&second, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    add(fields, "anchor_time", "%s", anchor ? text : "none");
}

/* An overage of 0 and none are the same. */
static void add_overage(struct fields *fields, const Holdfast__V1__Limit *limit)
{
    if (limit->overage_case == HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNITS &&
        limit->overage_units != 0)
        add(fields, "overage", "%" PRId64 " units", limit->overage_units);
    else if (limit->overage_case == HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_PERCENT &&
             limit->overage_percent != 0)
        add(fields, "overage", "%" PRId32 " %%", limit->overage_percent);
    else if (limit->overage_case == HOLDFAST__V1__LIMIT__OVERAGE_OVERAGE_UNLIMITED &&
             limit->overage_unlimited)
        add(fields, "overage", "unlimited");
    else
        add(fields, "overage", "none");
}

/* Exact, unlike duration_format: "900s", "0.25s". */
static void add_max_ttl(struct fields *fields, const Google__Protobuf__Duration *ttl)
{
    struct field_text *field = &fields->list[fields->count];
    size_t len;

    if (!ttl) {
        add(fields, "max_ttl", "none");
        return;
    }
    add(fields, "max_ttl", "%" PRId64 ".%09" PRId32, ttl->seconds, ttl->nanos);
    len = strlen(field->text);
    while (field->text[len - 1] == '0')
        len--;
    if (field->text[len - 1] == '.')
        len--;
    snprintf(field->text + len, FIELD_TEXT_BYTES - len, "s");
}

static void add_redis_away(struct fields *fields, const Holdfast__V1__Limit *limit)
{
    if (limit->redis_away == HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_OPEN)
        add(fields, "redis_away", "open %" PRId64, limit->redis_away_units);
    else if (limit->redis_away == HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_CLOSED)
        add(fields, "redis_away", "closed");
    else
        add(fields, "redis_away", "postgres");
}

void fields_of_limit(const Holdfast__V1__Limit *limit, struct fields *ret)
{
    ret->count = 0;
    add(ret, "scope", "\"%s\"", limit->scope);
    add(ret, "meter", "%s", limit->meter);
    add_period(ret, limit->period);
    add(ret, "time_zone", "\"%s\"", limit->time_zone);
    add_anchor(ret, limit->anchor_time);
    if (limit->bound_case == HOLDFAST__V1__LIMIT__BOUND_UNITS)
        add(ret, "amount", "%" PRId64, limit->units);
    else
        add(ret, "amount", "unlimited");
    add(ret, "soft_percent", "%" PRId32,
        limit->soft_percent ? limit->soft_percent : SOFT_PERCENT_DEFAULT);
    add_overage(ret, limit);
    add_max_ttl(ret, limit->max_ttl);
    add_redis_away(ret, limit);
    add(ret, "reserved_crossings", limit->reserved_crossings ? "true" : "false");
}

bool fields_equal(const struct fields *a, const struct fields *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->list[i].text, b->list[i].text) != 0)
            return false;
    return true;
}

/* Control characters as \xNN: a name must not move the cursor of whoever reads it. */
static void print_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];

        if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* U+0080 to U+009F */
            fprintf(out, "\\x%02x", (unsigned char)*++text);
        else
            putc(c, out);
    }
}

void fields_print(FILE *out, const struct fields *before, const struct fields *after)
{
    const char *comma = "";

    for (size_t i = 0; i < after->count; i++) {
        const struct field_text *new = &after->list[i];

        if (before && strcmp(before->list[i].text, new->text) == 0)
            continue;
        fprintf(out, "%s%s ", comma, new->name);
        print_text(out, before ? before->list[i].text : "");
        fputs(before ? " -> " : "", out);
        print_text(out, new->text);
        comma = ", ";
    }
}

json_t *fields_json(const struct fields *before, const struct fields *after)
{
    json_t *object = json_object();

    CHECK(object);
    for (size_t i = 0; i < after->count; i++) {
        const struct field_text *new = &after->list[i];

        if (!before)
            json_object_set_new(object, new->name, json_pack("{s:s}", "new", new->text));
        else if (strcmp(before->list[i].text, new->text) != 0)
            json_object_set_new(object, new->name,
                                json_pack("{s:s, s:s}", "old", before->list[i].text, "new",
                                          new->text));
    }
    return object;
}
