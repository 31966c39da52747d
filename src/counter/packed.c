#include "counter/packed.h"

#include "base/amount.h"
#include "quota/lease.h"
#include "quota/times.h"

#include <string.h>

enum {
    HEAD_MAX = 4 * (DIGITS_MAX + 1), /* epoch, seq, deadline, created, and what follows each */
    QUOTA_MAX = 6 * (DIGITS_MAX + 1),
};

size_t packed_ref_write(struct quota_ref ref, char *out)
{
    bool minutes = ref.period_start_ms % MINUTE_IN_MS == 0;
    size_t len =
        digits_write_pair(ref.limit_id, ':',
                          minutes ? ref.period_start_ms / MINUTE_IN_MS : ref.period_start_ms, out);

    if (!minutes)
        out[len++] = 'm';
    return len;
}

static bool period_read(struct slice text, int64_t *ret_ms)
{
    bool minutes = text.len == 0 || text.data[text.len - 1] != 'm';

    if (!minutes)
        text.len--;
    if (!slice_to_i64(text, ret_ms) || *ret_ms < 0 ||
        (minutes && *ret_ms > INT64_MAX / MINUTE_IN_MS))
        return false;
    if (minutes)
        *ret_ms *= MINUTE_IN_MS;
    return true;
}

bool packed_ref_read(struct slice name, struct quota_ref *ret)
{
    struct slice limit;

    return slice_cut(&name, ':', &limit) && slice_to_i64(limit, &ret->limit_id) && name.data &&
           period_read(name, &ret->period_start_ms);
}

bool packed_quota_read(struct slice text, struct counter_quota *ret)
{
    int64_t *const numbers[] = {
        &ret->held,  &ret->lease_id,          &ret->granted,       &ret->returned,
        &ret->spent, &ret->lease_deadline_ms, &ret->used,          &ret->used_seq,
        &ret->debt,  &ret->withheld,          &ret->period_end_ms,
    };
    struct slice field;

    *ret = (struct counter_quota){.exists = true};
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (!slice_cut(&text, ' ', &field) || !slice_to_i64(field, numbers[i]) ||
            !amount_valid(*numbers[i]))
            return false;
    if (!text.data)
        return true;
    ret->crossed = memchr(text.data, ';', text.len) != NULL;
    return text.len > 0 && text.data[0] == '|';
}

static bool read_reached(struct slice text, struct reached *ret)
{
    int64_t level = -1;
    int64_t *const numbers[] = {
        &ret->name.lease_id, &ret->name.n, &level,         &ret->stops.soft, &ret->stops.amount,
        &ret->stops.cap,     &ret->used,   &ret->used_seq, &ret->debt,       &ret->held,
    };
    struct slice field;

    *ret = (struct reached){0};
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (!slice_cut(&text, ':', &field) || !slice_to_i64(field, numbers[i]) ||
            !amount_valid(*numbers[i]))
            return false;
    ret->level = (int)level;
    ret->stops.unlimited = ret->stops.amount == AMOUNT_MAX;
    return !text.data && level <= LEVEL_BITS;
}

bool packed_reached_read(struct slice text, struct reached ret[REACHED_MAX], size_t *ret_count)
{
    struct slice entry;

    *ret_count = 0;
    while (text.data)
        if (*ret_count == REACHED_MAX || !slice_cut(&text, ';', &entry) ||
            !read_reached(entry, &ret[(*ret_count)++]))
            return false;
    return *ret_count > 0;
}

/* --- holds ------------------------------------------------------------------------------------ */

struct writer {
    char *at;
};

static void put(struct writer *writer, struct slice text)
{
    if (text.len)
        memcpy(writer->at, text.data, text.len);
    writer->at += text.len;
}

static void put_number(struct writer *writer, int64_t number, char behind)
{
    writer->at += digits_write(number, writer->at);
    if (behind)
        *writer->at++ = behind;
}

static bool cut_number(struct slice *rest, char separator, int64_t *ret)
{
    struct slice field;

    return slice_cut(rest, separator, &field) && slice_to_i64(field, ret) && *ret >= 0;
}

/* epoch:seq:place:age -> epoch:seq:deadline:created| */
static bool convert_head(struct writer *writer, struct slice head, int64_t *ret_epoch)
{
    int64_t seq, place, age_ms;

    if (!cut_number(&head, ':', ret_epoch) || !cut_number(&head, ':', &seq) ||
        !cut_number(&head, ':', &place) || !cut_number(&head, ':', &age_ms) || head.data ||
        *ret_epoch > INT64_MAX / LEASE_IDS_PER_EPOCH - 1)
        return false;
    put_number(writer, *ret_epoch, ':');
    put_number(writer, seq, ':');
    put_number(writer, place / PACKED_PLACES, ':');
    put_number(writer, place / PACKED_PLACES - age_ms, '|');
    return true;
}

/* meter:limit:period:lease:units and its warning, period and lease as the long text has them. */
static bool convert_quota(struct writer *writer, struct slice quota, int64_t epoch)
{
    struct slice period;
    int64_t meter, limit, period_ms, lease, units;

    if (!cut_number(&quota, ':', &meter) || !cut_number(&quota, ':', &limit) ||
        !slice_cut(&quota, ':', &period) || !period_read(period, &period_ms) ||
        !cut_number(&quota, ':', &lease) || lease > INT64_MAX - epoch * LEASE_IDS_PER_EPOCH ||
        !cut_number(&quota, ':', &units))
        return false;
    put_number(writer, meter, ':');
    put_number(writer, limit, ':');
    put_number(writer, period_ms, ':');
    put_number(writer, epoch * LEASE_IDS_PER_EPOCH + lease, ':');
    put_number(writer, units, 0);
    if (quota.data) { /* its warning */
        *writer->at++ = ':';
        put(writer, quota);
    }
    return true;
}

/* The first, or the length of the text. */
static size_t index_of(struct slice text, char c)
{
    size_t i = 0;

    while (i < text.len && text.data[i] != c)
        i++;
    return i;
}

static size_t count_of(struct slice text, char c)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == c;
    return count;
}

bool packed_hold_read(struct arena *arena, struct slice packed, struct slice *ret,
                      bool *ret_no_memory)
{
    size_t room = packed.len + HEAD_MAX + (count_of(packed, ';') + 1) * QUOTA_MAX;
    char *text = arena_array(arena, room, 1);
    struct writer writer = {text};
    size_t quotas_at = index_of(packed, '|'), head_len = index_of(packed, ';');
    struct slice head = slice_of(packed.data, head_len < quotas_at ? head_len : quotas_at);
    struct slice quotas, quota;
    int64_t epoch;

    *ret_no_memory = !text;
    if (!text || quotas_at == packed.len || !convert_head(&writer, head, &epoch))
        return false;
    quotas = quotas_at > head_len ? slice_of(packed.data + head_len + 1, quotas_at - head_len - 1)
                                  : slice_of(NULL, 0);
    packed = slice_skip(packed, quotas_at + 1);
    put(&writer, packed); /* scope|mode|meters */
    put(&writer, SLICE("|"));
    for (bool first = true; quotas.data; first = false) {
        if (!first)
            put(&writer, SLICE(";"));
        if (!slice_cut(&quotas, ';', &quota) || !convert_quota(&writer, quota, epoch))
            return false;
    }
    *ret = slice_of(text, (size_t)(writer.at - text));
    return true;
}

char *packed_hold_quotas(struct arena *arena, const struct hold *hold)
{
    char *text =
        arena_array(arena, hold->quotas_count * (QUOTA_MAX + DIGITS_MAX + HOLD_WARNING_MAX) + 1, 1);
    int64_t first = hold->attempt.epoch * LEASE_IDS_PER_EPOCH;
    struct writer writer = {text};

    if (!text)
        return NULL;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *quota = &hold->quotas[i];

        CHECK(quota->lease_id >= first);
        if (i > 0)
            *writer.at++ = ';';
        put_number(&writer, (int64_t)quota->meter, ':');
        writer.at += packed_ref_write(quota->quota, writer.at);
        *writer.at++ = ':';
        put_number(&writer, quota->lease_id - first, ':');
        put_number(&writer, quota->units, 0);
        if (!hold->warnings || hold->warnings[i].limit_name.len == 0)
            continue;
        *writer.at++ = ':';
        put_number(&writer, hold->warnings[i].projected, 0);
        writer.at += hold_warning_write(&hold->warnings[i], writer.at);
    }
    *writer.at = '\0';
    return text;
}
