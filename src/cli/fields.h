/*
 * A tenant or a limit as a list of named texts: equal objects have equal texts, so that they can be
 * compared and their differences shown. The names are the keys of the file of `apply`, where there is one.
 *
 * Pure; any thread.
 */
#ifndef HOLDFAST_CLI_FIELDS_H
#define HOLDFAST_CLI_FIELDS_H

#include "holdfast/v1/admin_service.pb-c.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { FIELDS_MAX = 11, FIELD_TEXT_BYTES = 300 };

struct field_text {
    const char *name;
    char text[FIELD_TEXT_BYTES];
};

struct fields {
    size_t count;
    struct field_text list[FIELDS_MAX];
};

/* Each writes the same names in the same order for every object. */
void fields_of_tenant(const Holdfast__V1__Tenant *tenant, struct fields *ret);
void fields_of_limit(const Holdfast__V1__Limit *limit, struct fields *ret);

bool fields_equal(const struct fields *a, const struct fields *b);

/* "amount 1000 -> 500, soft_percent 90 -> 80" if there is a before; else "amount 500, soft_percent 80".  */
void fields_print(FILE *out, const struct fields *before, const struct fields *after);

/* {"amount": {"old": "1000", "new": "500"}} of what differs; without before, of all, with new alone. */
json_t *fields_json(const struct fields *before, const struct fields *after);

#endif
