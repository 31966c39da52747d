/*
 * What a request may say. Each function looks at one field, and if it is wrong adds it to the op's
 * error (INVALID_FIELD) and goes on, so that one answer names every bad field; ask op->error at the
 * end. What a function returns for a bad field is safe to hold, but means nothing. Any thread.
 */
#ifndef HOLDFAST_RPC_VALIDATE_H
#define HOLDFAST_RPC_VALIDATE_H

#include "base/check.h"
#include "base/slice.h"
#include "op/op.h"

#include "holdfast/v1/quota.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A field's place: "ttl", "amounts[1].units", "scopes[0]", "limit.meter". */
struct field {
    const char *name;
    bool indexed;
    size_t index;
    const char *member; /* NULL: the element or the field itself */
};

#define FIELD(path) ((struct field){.name = (path)})
#define FIELD_IN(message, path) ((struct field){.name = (message), .member = (path)})
#define FIELD_AT(list, at, path)                                                                   \
    ((struct field){.name = (list), .indexed = true, .index = (at), .member = (path)})

/* "is required", "is negative": the field is wrong, for this reason. */
void invalid(struct op *op, struct field field, const char *format, ...) PRINTF_LIKE(3, 4);

/* True if nothing was wrong so far. */
static inline bool valid(const struct op *op)
{
    return op->error.failure == FAILURE_NONE;
}

/* Tenant, meter, limit_id: 1 to 64 of [a-z0-9._-]; empty is right unless required. */
struct slice valid_name(struct op *op, struct field field, const char *text, bool required);

/* Up to four names joined by '/', or empty. */
struct slice valid_scope(struct op *op, struct field field, const char *text);

/* 1 to 255 bytes of printable ASCII. */
struct slice valid_job_id(struct op *op, struct field field, const char *text, bool required);

/* Any UTF-8 of at most bytes_max. */
struct slice valid_text(struct op *op, struct field field, const char *text, size_t bytes_max);

/* 0 to 2^53-1. */
int64_t valid_units(struct op *op, struct field field, int64_t units);

/* 100 ms to 24 h in ms, rounded down; default_ms if unset. */
int64_t valid_ttl(struct op *op, struct field field, const Google__Protobuf__Duration *ttl,
                  int64_t default_ms);

/* False, and named, if the enum has no such value. */
bool valid_enum(struct op *op, struct field field, const ProtobufCEnumDescriptor *type, int value);

/* 0 or the one value that this version knows how to do; gives that one. */
int valid_only(struct op *op, struct field field, const ProtobufCEnumDescriptor *type, int value,
               int only);

/* A field documented "Later". */
void valid_later(struct op *op, struct field field, bool set);

enum { PAGE_SIZE_DEFAULT = 50, PAGE_SIZE_MAX = 1000 };

size_t valid_page_size(struct op *op, int32_t page_size);

/* Amounts of Reserve and Check: 1 to 32, each meter once. Sorted by meter, in the op's arena. */
struct valid_amounts {
    size_t count;
    struct hold_meter *meters;
    size_t *index; /* meters[i] was amounts[index[i]] */
};

struct valid_amounts valid_amounts(struct op *op, const char *list, size_t count,
                                   Holdfast__V1__Amount *const *amounts);

#endif
