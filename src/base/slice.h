/*
 * A string that belongs to someone else: pointer and length, passed by value, not NUL-terminated.
 *
 * The owner must outlive the slice. data may be NULL when len is 0.
 */
#ifndef HOLDFAST_BASE_SLICE_H
#define HOLDFAST_BASE_SLICE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *data;
    size_t len;
};

/* A slice of a string literal, usable as an initialiser: SLICE("abc"). */
#define SLICE(literal) ((struct slice){"" literal, sizeof(literal) - 1})

/* For printf("%.*s", SLICE_ARGS(s)). */
#define SLICE_ARGS(slice) (int)(slice).len, (slice).data ? (slice).data : ""

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){data, len};
}

/* NULL gives the empty slice. */
static inline struct slice slice_from_cstr(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_equal_cstr(struct slice a, const char *b)
{
    return slice_equal(a, slice_from_cstr(b));
}

/* Byte order, a prefix before what it begins; < 0, 0 or > 0. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_equal(slice_of(s.data, prefix.len), prefix);
}

/* Without the first n bytes; n <= len. */
static inline struct slice slice_skip(struct slice s, size_t n)
{
    CHECK(n <= s.len);
    return n ? slice_of(s.data + n, s.len - n) : s;
}

/*
 * Takes the field before the next separator off the front of *rest; the last field is what is left.
 * "a,,b" has three fields, "a," two, "" one. False, and nothing changed, once all were taken, which
 * leaves *rest with data NULL.
 */
static inline bool slice_cut(struct slice *rest, char separator, struct slice *ret_field)
{
    const char *at;

    if (!rest->data)
        return false;
    at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    if (at) {
        *ret_field = slice_of(rest->data, (size_t)(at - rest->data));
        *rest = slice_skip(*rest, ret_field->len + 1);
    } else {
        *ret_field = *rest;
        *rest = slice_of(NULL, 0);
    }
    return true;
}

/* Strict decimal: digits only, no sign, space, leading zero or overflow; *ret only on success. */
static inline MUST_CHECK bool slice_to_u64(struct slice s, uint64_t *ret)
{
    uint64_t value = 0;

    if (s.len == 0 || (s.len > 1 && s.data[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.data[i] - '0';

        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *ret = value;
    return true;
}

/* As slice_to_u64 with an optional '-'; "-0" is refused. */
static inline MUST_CHECK bool slice_to_i64(struct slice s, int64_t *ret)
{
    bool negative = s.len > 0 && s.data[0] == '-';
    uint64_t magnitude;

    if (!slice_to_u64(negative ? slice_skip(s, 1) : s, &magnitude))
        return false;
    if (negative ? magnitude == 0 || magnitude > (uint64_t)INT64_MAX + 1 : magnitude > INT64_MAX)
        return false;
    *ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

#endif
