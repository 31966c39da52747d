#include "quota/hold.h"

#include "base/amount.h"
#include "base/digits.h"

#include <string.h>

/* Text that grows in a buffer; once it does not fit, it stays so. */
struct text {
    char bytes[HOLD_TEXT_MAX + 1];
    size_t len;
    bool too_long;
};

static void put(struct text *text, struct slice piece)
{
    if (piece.len > HOLD_TEXT_MAX - text->len) {
        text->too_long = true;
        return;
    }
    if (piece.len > 0)
        memcpy(text->bytes + text->len, piece.data, piece.len);
    text->len += piece.len;
}

static void put_char(struct text *text, char c)
{
    put(text, slice_of(&c, 1));
}

static void put_number(struct text *text, int64_t number)
{
    char digits[DIGITS_MAX];

    put(text, slice_of(digits, digits_write(number, digits)));
}

/* With colons between them. */
static void put_numbers(struct text *text, const int64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put_char(text, ':');
        put_number(text, numbers[i]);
    }
}

size_t hold_warning_write(const struct hold_warning *warning, char out[HOLD_WARNING_MAX])
{
    const int64_t stops[] = {warning->soft, warning->amount, warning->cap};
    size_t len = 0;

    CHECK(warning->limit_name.len <= NAME_BYTES_MAX && warning->scope_len <= SCOPE_BYTES_MAX);
    for (size_t i = 0; i < ARRAY_COUNT(stops); i++) {
        out[len++] = ':';
        len += digits_write(stops[i], out + len);
    }
    out[len++] = ':';
    memcpy(out + len, warning->limit_name.data, warning->limit_name.len);
    len += warning->limit_name.len;
    out[len++] = ':';
    return len + digits_write((int64_t)warning->scope_len, out + len);
}

static void put_warning(struct text *text, const struct hold_warning *warning)
{
    char rest[HOLD_WARNING_MAX];

    put_char(text, ':');
    put_number(text, warning->projected);
    put(text, slice_of(rest, hold_warning_write(warning, rest)));
}

static char *text_copy(struct arena *arena, const struct text *text)
{
    return text->too_long ? NULL : arena_strndup(arena, text->bytes, text->len);
}

static void put_identity(struct text *text, struct slice scope, int mode,
                         const struct hold_meter *meters, size_t meters_count)
{
    put(text, scope);
    put_char(text, '|');
    put_number(text, mode);
    put_char(text, '|');
    for (size_t i = 0; i < meters_count; i++) {
        if (i > 0)
            put_char(text, ',');
        put(text, meters[i].meter);
        put_char(text, '=');
        put_number(text, meters[i].units);
    }
}

char *hold_identity(struct arena *arena, struct slice scope, int mode,
                    const struct hold_meter *meters, size_t meters_count)
{
    struct text text;

    text.len = 0;
    text.too_long = false;
    put_identity(&text, scope, mode, meters, meters_count);
    return text_copy(arena, &text);
}

char *hold_text(struct arena *arena, const struct hold *hold)
{
    struct text text;

    text.len = 0;
    text.too_long = false;
    put_numbers(&text,
                (const int64_t[]){hold->attempt.epoch, hold->attempt.seq, hold->deadline_ms,
                                  hold->created_ms},
                4);
    put_char(&text, '|');
    put_identity(&text, hold->scope, hold->mode, hold->meters, hold->meters_count);
    put_char(&text, '|');
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *quota = &hold->quotas[i];

        if (i > 0)
            put_char(&text, ';');
        put_numbers(&text,
                    (const int64_t[]){quota->meter, quota->quota.limit_id,
                                      quota->quota.period_start_ms, quota->lease_id, quota->units},
                    5);
        if (hold->warnings && hold->warnings[i].limit_name.len > 0)
            put_warning(&text, &hold->warnings[i]);
    }
    return text_copy(arena, &text);
}

static bool is_name(struct slice name, bool slashes, size_t bytes_max)
{
    if (name.len > bytes_max)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-' || (slashes && c == '/')))
            return false;
    }
    return true;
}

static bool cut_number(struct slice *rest, char separator, int64_t *ret)
{
    struct slice field;

    return slice_cut(rest, separator, &field) && slice_to_i64(field, ret) && *ret >= 0;
}

static size_t count_fields(struct slice list, char separator)
{
    size_t count = list.len > 0;

    for (size_t i = 0; i < list.len; i++)
        count += list.data[i] == separator;
    return count;
}

static bool parse_head(struct slice head, struct hold *hold)
{
    return cut_number(&head, ':', &hold->attempt.epoch) &&
           cut_number(&head, ':', &hold->attempt.seq) &&
           cut_number(&head, ':', &hold->deadline_ms) &&
           cut_number(&head, ':', &hold->created_ms) && !head.data;
}

static bool parse_meter(struct slice field, struct hold_meter *meter)
{
    const char *equals = field.len ? memchr(field.data, '=', field.len) : NULL;

    if (!equals)
        return false;
    meter->meter = slice_of(field.data, (size_t)(equals - field.data));
    return meter->meter.len > 0 && is_name(meter->meter, false, NAME_BYTES_MAX) &&
           slice_to_i64(slice_skip(field, meter->meter.len + 1), &meter->units) &&
           amount_valid(meter->units);
}

static bool parse_meters(struct arena *arena, struct slice list, struct hold *hold)
{
    size_t count = count_fields(list, ',');
    struct slice field;

    if (count == 0 || count > HOLD_METERS_MAX)
        return false;
    hold->meters = arena_array(arena, count, sizeof(*hold->meters));
    if (!hold->meters)
        return false;
    hold->meters_count = count;
    for (size_t i = 0; i < count; i++)
        if (!slice_cut(&list, ',', &field) || !parse_meter(field, &hold->meters[i]))
            return false;
    return true;
}

static bool parse_warning(struct arena *arena, struct slice *rest, struct hold *hold, size_t i)
{
    struct hold_warning warning;
    int64_t scope_len;

    if (!cut_number(rest, ':', &warning.projected))
        return false;
    if (!rest->data) /* an earlier version: see hold.h */
        return true;
    if (!cut_number(rest, ':', &warning.soft) || !cut_number(rest, ':', &warning.amount) ||
        !cut_number(rest, ':', &warning.cap) || !slice_cut(rest, ':', &warning.limit_name) ||
        !cut_number(rest, ':', &scope_len) || warning.limit_name.len == 0 ||
        !amount_valid(warning.soft) || !amount_valid(warning.amount) ||
        !amount_valid(warning.cap) || !is_name(warning.limit_name, false, NAME_BYTES_MAX) ||
        (uint64_t)scope_len > hold->scope.len)
        return false;
    warning.scope_len = (size_t)scope_len;
    if (!hold->warnings)
        hold->warnings = arena_array(arena, hold->quotas_count, sizeof(*hold->warnings));
    if (!hold->warnings)
        return false;
    hold->warnings[i] = warning;
    return true;
}

static bool parse_quotas(struct arena *arena, struct slice list, struct hold *hold)
{
    size_t count = count_fields(list, ';');
    struct slice field;

    if (count > HOLD_QUOTAS_MAX)
        return false;
    hold->quotas = arena_array(arena, count, sizeof(*hold->quotas));
    if (!hold->quotas)
        return false;
    hold->quotas_count = count;
    for (size_t i = 0; i < count; i++) {
        struct hold_quota *quota = &hold->quotas[i];
        int64_t meter;

        if (!slice_cut(&list, ';', &field) || !cut_number(&field, ':', &meter) ||
            !cut_number(&field, ':', &quota->quota.limit_id) ||
            !cut_number(&field, ':', &quota->quota.period_start_ms) ||
            !cut_number(&field, ':', &quota->lease_id) || !cut_number(&field, ':', &quota->units) ||
            (field.data && !parse_warning(arena, &field, hold, i)) || field.data ||
            (uint64_t)meter >= hold->meters_count || !amount_valid(quota->units))
            return false;
        quota->meter = (uint32_t)meter;
    }
    return true;
}

static bool meters_are_sound(const struct hold *hold)
{
    if (hold->meters_count == 0 || hold->meters_count > HOLD_METERS_MAX)
        return false;
    for (size_t i = 0; i < hold->meters_count; i++) {
        if (hold->meters[i].meter.len == 0 || !amount_valid(hold->meters[i].units))
            return false;
        for (size_t k = 0; k < i; k++)
            if (slice_equal(hold->meters[i].meter, hold->meters[k].meter))
                return false;
    }
    return true;
}

/* A hold is made at one moment, so a limit has one period in it. */
bool hold_is_sound(const struct hold *hold)
{
    if (!meters_are_sound(hold) || hold->quotas_count > HOLD_QUOTAS_MAX)
        return false;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        if (hold->quotas[i].meter >= hold->meters_count || !amount_valid(hold->quotas[i].units))
            return false;
        for (size_t k = 0; k < i; k++)
            if (hold->quotas[i].quota.limit_id == hold->quotas[k].quota.limit_id)
                return false;
    }
    return true;
}

bool hold_parse(struct arena *arena, struct slice text, struct hold **ret_hold)
{
    struct hold *hold;
    struct slice head, mode_text, meters, quotas;
    int64_t mode;

    if (text.len == 0 || text.len > HOLD_TEXT_MAX)
        return false;
    hold = arena_zalloc(arena, sizeof(*hold));
    if (!hold)
        return false;
    if (!slice_cut(&text, '|', &head) || !slice_cut(&text, '|', &hold->scope) ||
        !slice_cut(&text, '|', &mode_text) || !slice_cut(&text, '|', &meters) ||
        !slice_cut(&text, '|', &quotas) || text.data)
        return false;
    if (!slice_to_i64(mode_text, &mode) || mode < 0 || mode > INT32_MAX)
        return false;
    hold->mode = (int)mode;
    if (!parse_head(head, hold) || !is_name(hold->scope, true, SCOPE_BYTES_MAX) ||
        !parse_meters(arena, meters, hold) || !parse_quotas(arena, quotas, hold) ||
        !hold_is_sound(hold))
        return false;
    *ret_hold = hold;
    return true;
}

bool hold_is_readable(struct slice text)
{
    struct arena arena;
    struct hold *hold;
    bool readable;

    arena_init(&arena, 4096, SIZE_MAX / 2);
    readable = hold_parse(&arena, text, &hold);
    arena_done(&arena);
    return readable;
}

int attempt_compare(struct attempt a, struct attempt b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

bool quota_ref_equal(struct quota_ref a, struct quota_ref b)
{
    return a.limit_id == b.limit_id && a.period_start_ms == b.period_start_ms;
}

int quota_ref_compare(struct quota_ref a, struct quota_ref b)
{
    if (a.limit_id != b.limit_id)
        return a.limit_id < b.limit_id ? -1 : 1;
    return (a.period_start_ms > b.period_start_ms) - (a.period_start_ms < b.period_start_ms);
}
