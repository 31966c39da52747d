#include "rpc/validate.h"

#include "base/amount.h"
#include "quota/times.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    SCOPE_SEGMENTS_MAX = 4,
};

static const char *field_path(struct op *op, struct field field)
{
    const char *path = field.name;

    if (field.indexed)
        path = field.member
                   ? arena_printf(op->arena, "%s[%zu].%s", field.name, field.index, field.member)
                   : arena_printf(op->arena, "%s[%zu]", field.name, field.index);
    else if (field.member)
        path = arena_printf(op->arena, "%s.%s", field.name, field.member);
    return path ? path : field.name;
}

void invalid(struct op *op, struct field field, const char *format, ...)
{
    const char *path = field_path(op, field);
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    op_fail_field(op, FAILURE_INVALID_FIELD, path, "%s %s", path, text);
}

/* Position of the first byte outside [a-z0-9._-], or len. */
static size_t name_span(struct slice name)
{
    size_t at = 0;

    while (at < name.len) {
        char c = name.data[at];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            break;
        at++;
    }
    return at;
}

/* False: told. An empty name is the caller's business. */
static bool name_is_lawful(struct op *op, struct field field, struct slice name)
{
    size_t at = name_span(name);

    if (at < name.len) {
        invalid(op, field, "has a character at %zu that is not one of a-z 0-9 . _ -", at);
        return false;
    }
    if (name.len > NAME_BYTES_MAX) {
        invalid(op, field, "has %zu characters, more than %d", name.len, NAME_BYTES_MAX);
        return false;
    }
    return true;
}

struct slice valid_name(struct op *op, struct field field, const char *text, bool required)
{
    struct slice name = slice_from_cstr(text);

    if (name.len == 0 && required)
        invalid(op, field, "is required");
    else
        (void)name_is_lawful(op, field, name);
    return name;
}

struct slice valid_scope(struct op *op, struct field field, const char *text)
{
    struct slice scope = slice_from_cstr(text);
    struct slice rest = scope, segment;
    size_t segments = 0;

    if (scope.len == 0)
        return scope;
    while (slice_cut(&rest, '/', &segment)) {
        if (++segments > SCOPE_SEGMENTS_MAX) {
            invalid(op, field, "has more than %d segments", SCOPE_SEGMENTS_MAX);
            break;
        }
        if (segment.len == 0) {
            invalid(op, field, "has an empty segment");
            break;
        }
        if (!name_is_lawful(op, field, segment))
            break;
    }
    return scope;
}

struct slice valid_job_id(struct op *op, struct field field, const char *text, bool required)
{
    struct slice id = slice_from_cstr(text);

    if (id.len == 0 && required)
        invalid(op, field, "is required");
    if (id.len > JOB_ID_BYTES_MAX)
        invalid(op, field, "has %zu bytes, more than %d", id.len, JOB_ID_BYTES_MAX);
    for (size_t i = 0; i < id.len; i++) {
        if (id.data[i] < 0x20 || id.data[i] > 0x7e) {
            invalid(op, field, "has a byte at %zu that is not printable ASCII", i);
            break;
        }
    }
    return id;
}

struct slice valid_text(struct op *op, struct field field, const char *text, size_t bytes_max)
{
    struct slice slice = slice_from_cstr(text);

    if (slice.len > bytes_max)
        invalid(op, field, "has %zu bytes, more than %zu", slice.len, bytes_max);
    return slice;
}

int64_t valid_units(struct op *op, struct field field, int64_t units)
{
    if (units < 0)
        invalid(op, field, "is negative");
    else if (units > AMOUNT_MAX)
        invalid(op, field, "is more than 2^53-1");
    return units;
}

int64_t valid_ttl(struct op *op, struct field field, const Google__Protobuf__Duration *ttl,
                  int64_t default_ms)
{
    int64_t ms;

    if (!ttl)
        return default_ms;
    if (ttl->nanos <= -1000000000 || ttl->nanos >= 1000000000 ||
        (ttl->seconds > 0 && ttl->nanos < 0) || (ttl->seconds < 0 && ttl->nanos > 0)) {
        invalid(op, field, "is not a duration: nanos are out of range or of another sign");
        return default_ms;
    }
    if (ttl->seconds < 0 || ttl->seconds > TTL_ASKED_MAX_MS / 1000) {
        invalid(op, field, "is not between 100 ms and 24 h");
        return default_ms;
    }
    ms = ttl->seconds * 1000 + ttl->nanos / 1000000;
    if (ms < TTL_ASKED_MIN_MS || ms > TTL_ASKED_MAX_MS ||
        (ms == TTL_ASKED_MAX_MS && ttl->nanos > 0)) {
        invalid(op, field, "is not between 100 ms and 24 h");
        return default_ms;
    }
    return ms;
}

bool valid_enum(struct op *op, struct field field, const ProtobufCEnumDescriptor *type, int value)
{
    if (protobuf_c_enum_descriptor_get_value(type, value))
        return true;
    invalid(op, field, "has the value %d, which %s does not have", value, type->short_name);
    return false;
}

int valid_only(struct op *op, struct field field, const ProtobufCEnumDescriptor *type, int value,
               int only)
{
    if (!valid_enum(op, field, type, value))
        return only;
    if (value != 0 && value != only)
        invalid(op, field, "is %s, which this version does not have; leave it out or say %s",
                protobuf_c_enum_descriptor_get_value(type, value)->name,
                protobuf_c_enum_descriptor_get_value(type, only)->name);
    return only;
}

void valid_later(struct op *op, struct field field, bool set)
{
    if (set)
        invalid(op, field, "comes in a later version; leave it out");
}

size_t valid_page_size(struct op *op, int32_t page_size)
{
    if (page_size < 0)
        invalid(op, FIELD("page_size"), "is negative");
    if (page_size <= 0)
        return PAGE_SIZE_DEFAULT;
    return page_size > PAGE_SIZE_MAX ? PAGE_SIZE_MAX : (size_t)page_size;
}

/* Puts one amount where it belongs in the sorted list; tells if its meter is there already. */
static void insert_amount(struct op *op, const char *list, struct valid_amounts *amounts,
                          struct hold_meter meter, size_t index)
{
    size_t at = amounts->count;

    while (at > 0 && slice_compare(amounts->meters[at - 1].meter, meter.meter) > 0) {
        amounts->meters[at] = amounts->meters[at - 1];
        amounts->index[at] = amounts->index[at - 1];
        at--;
    }
    if (meter.meter.len > 0 && at > 0 && slice_equal(amounts->meters[at - 1].meter, meter.meter))
        invalid(op, FIELD_AT(list, index, "meter"), "is the meter of %s[%zu] again", list,
                amounts->index[at - 1]);
    amounts->meters[at] = meter;
    amounts->index[at] = index;
    amounts->count++;
}

struct valid_amounts valid_amounts(struct op *op, const char *list, size_t count,
                                   Holdfast__V1__Amount *const *amounts)
{
    struct valid_amounts sorted = {0};

    if (count == 0)
        invalid(op, FIELD(list), "is required: at least one amount");
    if (count > HOLD_METERS_MAX) {
        invalid(op, FIELD(list), "has %zu entries, more than %d", count, HOLD_METERS_MAX);
        count = HOLD_METERS_MAX;
    }
    sorted.meters = arena_array(op->arena, count, sizeof(*sorted.meters));
    sorted.index = arena_array(op->arena, count, sizeof(*sorted.index));
    CHECK(sorted.meters && sorted.index);
    for (size_t i = 0; i < count; i++) {
        struct hold_meter meter = {
            .meter = valid_name(op, FIELD_AT(list, i, "meter"), amounts[i]->meter, true),
            .units = valid_units(op, FIELD_AT(list, i, "units"), amounts[i]->units),
        };

        insert_amount(op, list, &sorted, meter, i);
    }
    return sorted;
}
