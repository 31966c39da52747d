#include "cli/quotas_file.h"

#include "base/amount.h"
#include "cli/duration.h"
#include "quota/hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ARENA_BYTES = 64 * 1024, ARENA_MAX = 256 << 20 };

static const char *read_period(const char *text, void *field)
{
    static const struct {
        const char *name;
        enum quotas_file_period period;
    } periods[] = {
        {"never", QUOTAS_FILE_PERIOD_NEVER}, {"minute", QUOTAS_FILE_PERIOD_MINUTE},
        {"hour", QUOTAS_FILE_PERIOD_HOUR},   {"day", QUOTAS_FILE_PERIOD_DAY},
        {"week", QUOTAS_FILE_PERIOD_WEEK},   {"month", QUOTAS_FILE_PERIOD_MONTH},
        {"year", QUOTAS_FILE_PERIOD_YEAR},
    };

    for (size_t i = 0; i < ARRAY_COUNT(periods); i++) {
        if (strcmp(periods[i].name, text) == 0) {
            memcpy(field, &periods[i].period, sizeof(periods[i].period));
            return NULL;
        }
    }
    return "never, minute, hour, day, week, month or year";
}

/* Exactly so: what strptime lets pass besides would look like another instant than it is. */
static const char *read_instant(const char *text, void *field)
{
    static const char form[] = "%Y-%m-%dT%H:%M:%SZ";
    struct quotas_file_instant *instant = field;
    struct tm tm = {0};
    char again[32] = "";
    const char *end = strptime(text, form, &tm);

    instant->given = true;
    instant->seconds = end ? (int64_t)timegm(&tm) : 0;
    if (end && strftime(again, sizeof(again), form, &tm) > 0 && strcmp(again, text) == 0)
        return NULL;
    return "an instant in UTC, such as 2026-01-31T09:30:00Z";
}

static const char *read_redis_away(const char *text, void *field)
{
    static const char *const words[] = {"postgres", "closed", "open"};

    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        enum quotas_file_away away = (enum quotas_file_away)(QUOTAS_FILE_AWAY_POSTGRES + (int)i);

        if (strcmp(words[i], text) == 0) {
            memcpy(field, &away, sizeof(away));
            return NULL;
        }
    }
    return "postgres, closed or open";
}

static const char *read_max_ttl(const char *text, void *field)
{
    struct quotas_file_ttl *ttl = field;

    ttl->given = true;
    if (strcmp(text, "none") == 0)
        return NULL;
    if (!duration_parse(text, &ttl->us) || ttl->us <= 0)
        return "a duration such as 90s or 15m, or none";
    /* The server keeps milliseconds: a finer one would differ from what is stored at every apply. */
    return ttl->us % 1000 == 0 ? NULL : "a duration of whole milliseconds, such as 1500ms, or none";
}

#define TEXT(key, owner, needed)                                                                   \
    {                                                                                              \
        .name = #key, .type = DOCUMENT_TEXT, .offset = offsetof(struct owner, key),                \
        .required = (needed)                                                                       \
    }
#define FLAG(key, owner)                                                                           \
    {                                                                                              \
        .name = #key, .type = DOCUMENT_FLAG, .offset = offsetof(struct owner, key)                 \
    }
#define NUMBER(key, least, most)                                                                   \
    {                                                                                              \
        .name = #key, .type = DOCUMENT_NUMBER, .offset = offsetof(struct quotas_file_limit, key),  \
        .min = (least), .max = (most)                                                              \
    }
#define WORD(key, reader)                                                                          \
    {                                                                                              \
        .name = #key, .type = DOCUMENT_WORD, .offset = offsetof(struct quotas_file_limit, key),    \
        .read = (reader)                                                                           \
    }

static const struct document_key limit_keys[] = {
    TEXT(limit_id, quotas_file_limit, true),
    TEXT(meter, quotas_file_limit, false),
    TEXT(scope, quotas_file_limit, false),
    WORD(period, read_period),
    TEXT(time_zone, quotas_file_limit, false),
    WORD(anchor_time, read_instant),
    NUMBER(amount, 0, AMOUNT_MAX),
    FLAG(unlimited, quotas_file_limit),
    NUMBER(soft_percent, 1, 100),
    NUMBER(overage_percent, 0, 1000),
    NUMBER(overage_units, 0, AMOUNT_MAX),
    FLAG(overage_unlimited, quotas_file_limit),
    WORD(max_ttl, read_max_ttl),
    WORD(redis_away, read_redis_away),
    NUMBER(redis_away_units, 1, AMOUNT_MAX),
    FLAG(reserved_crossings, quotas_file_limit),
};

static const struct document_map limit_map = {
    .keys = limit_keys,
    .count = ARRAY_COUNT(limit_keys),
    .size = sizeof(struct quotas_file_limit),
    .line = offsetof(struct quotas_file_limit, line),
    .unique = offsetof(struct quotas_file_limit, limit_id),
    .unique_name = "limit_id",
};

static const struct document_key tenant_keys[] = {
    TEXT(tenant, quotas_file_tenant, true),
    TEXT(display_name, quotas_file_tenant, false),
    FLAG(suspended, quotas_file_tenant),
    FLAG(admit_unlimited_meters, quotas_file_tenant),
    {.name = "limits",
     .type = DOCUMENT_LIST,
     .offset = offsetof(struct quotas_file_tenant, limits),
     .list = &limit_map},
};

static const struct document_map tenant_map = {
    .keys = tenant_keys,
    .count = ARRAY_COUNT(tenant_keys),
    .size = sizeof(struct quotas_file_tenant),
    .line = offsetof(struct quotas_file_tenant, line),
    .unique = offsetof(struct quotas_file_tenant, tenant),
    .unique_name = "tenant",
};

static const struct document_key file_keys[] = {
    {.name = "tenants",
     .type = DOCUMENT_LIST,
     .offset = offsetof(struct quotas_file, tenants),
     .required = true,
     .list = &tenant_map},
};

static const struct document_map file_map = {
    .keys = file_keys,
    .count = ARRAY_COUNT(file_keys),
    .size = sizeof(struct quotas_file),
    .line = offsetof(struct quotas_file, line),
};

/* A tenant's name is looked up before anything else; other names are the server's to judge. */
static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return len > 0 && len <= NAME_BYTES_MAX && text[len] == '\0';
}

/* What the tables cannot say. NULL if good. */
static const char *fault_of(const struct quotas_file_limit *limit)
{
    int overages =
        limit->overage_percent.given + limit->overage_units.given + limit->overage_unlimited.value;

    if (limit->amount.given && limit->unlimited.value)
        return "has an amount and is unlimited; it can have one of the two";
    if (overages > 1)
        return "may have one of overage_percent, overage_units and overage_unlimited";
    if (overages && limit->unlimited.value)
        return "is unlimited; an overage has no meaning there";
    if (limit->redis_away_units.given && limit->redis_away != QUOTAS_FILE_AWAY_NOT_GIVEN &&
        limit->redis_away != QUOTAS_FILE_AWAY_OPEN)
        return "has redis_away_units, which have a meaning only with redis_away: open";
    return NULL;
}

static bool check_file(const struct quotas_file *file, char *ret_error)
{
    const struct quotas_file_tenant *tenants = file->tenants.items;

    for (size_t t = 0; t < file->tenants.count; t++) {
        const struct quotas_file_limit *limits = tenants[t].limits.items;

        if (!is_name(tenants[t].tenant)) {
            snprintf(ret_error, QUOTAS_FILE_ERROR_BYTES,
                     "line %d: a tenant's name has 1 to %d characters of a-z 0-9 . _ -",
                     tenants[t].line, NAME_BYTES_MAX);
            return false;
        }
        for (size_t i = 0; i < tenants[t].limits.count; i++) {
            const char *wrong = fault_of(&limits[i]);

            if (wrong) {
                snprintf(ret_error, QUOTAS_FILE_ERROR_BYTES,
                         "line %d: tenant %.64s, limit %.64s: %s", limits[i].line,
                         tenants[t].tenant, limits[i].limit_id, wrong);
                return false;
            }
        }
    }
    return true;
}

struct quotas_file *quotas_file_parse(const char *yaml, size_t len,
                                      char ret_error[QUOTAS_FILE_ERROR_BYTES])
{
    struct quotas_file *file = calloc(1, sizeof(*file));
    struct arena arena;
    bool good;

    CHECK(file);
    arena_init(&arena, ARENA_BYTES, ARENA_MAX);
    good = document_read(yaml, len, &file_map, file, &arena, ret_error);
    file->arena = arena;
    if (good && check_file(file, ret_error))
        return file;
    quotas_file_destroy(file);
    return NULL;
}

/* All of the stream, for free; NULL: ret_error says why. */
static char *read_stream(FILE *stream, size_t *ret_len, char *ret_error)
{
    char *text = malloc(QUOTAS_FILE_BYTES_MAX + 1);

    CHECK(text);
    *ret_len = fread(text, 1, QUOTAS_FILE_BYTES_MAX + 1, stream);
    if (!ferror(stream) && *ret_len <= QUOTAS_FILE_BYTES_MAX)
        return text;
    if (ferror(stream))
        snprintf(ret_error, QUOTAS_FILE_ERROR_BYTES, "%s", strerror(errno));
    else
        snprintf(ret_error, QUOTAS_FILE_ERROR_BYTES, "it has more than %d MiB; make several of it",
                 QUOTAS_FILE_BYTES_MAX >> 20);
    free(text);
    return NULL;
}

struct quotas_file *quotas_file_load(const char *path, char ret_error[QUOTAS_FILE_ERROR_BYTES])
{
    /* Not /dev/stdin: a socket cannot be opened by that name. */
    FILE *stream = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    struct quotas_file *file = NULL;
    size_t len;
    char *text;

    if (!stream) {
        snprintf(ret_error, QUOTAS_FILE_ERROR_BYTES, "%s", strerror(errno));
        return NULL;
    }
    text = read_stream(stream, &len, ret_error);
    if (stream != stdin)
        fclose(stream);
    if (text)
        file = quotas_file_parse(text, len, ret_error);
    free(text);
    return file;
}

void quotas_file_destroy(struct quotas_file *file)
{
    if (!file)
        return;
    arena_done(&file->arena);
    free(file);
}
