/*
 * Tenants and limits declared in a YAML file, for `holdfast apply`. The form is in src/cli/README.md.
 *
 * Unknown keys, wrong types and unknown periods are errors that name the line; ranges are the
 * server's to judge. Any thread; what comes back belongs to the caller.
 */
#ifndef HOLDFAST_CLI_QUOTAS_FILE_H
#define HOLDFAST_CLI_QUOTAS_FILE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUOTAS_FILE_ERROR_BYTES 512

/* Values of holdfast.v1.Period. */
enum quotas_file_period {
    QUOTAS_FILE_PERIOD_NEVER = 1,
    QUOTAS_FILE_PERIOD_MINUTE = 2,
    QUOTAS_FILE_PERIOD_HOUR = 3,
    QUOTAS_FILE_PERIOD_DAY = 4,
    QUOTAS_FILE_PERIOD_MONTH = 6,
};

struct quotas_file_limit {
    char *limit_id;
    char *meter;
    char *scope; /* NULL: the tenant itself */
    enum quotas_file_period period;
    int64_t *amount; /* NULL: unlimited is true */
    bool unlimited;
    int64_t soft_percent;     /* 0: the server's default */
    int64_t *overage_percent; /* at most one overage_* is given */
    int64_t *overage_units;
    bool overage_unlimited;
    char *max_ttl; /* as written; NULL: the server's */
    int64_t max_ttl_us; /* 0 if not given */
};

struct quotas_file_tenant {
    char *tenant;
    char *display_name; /* NULL: none */
    bool suspended;
    bool admit_unlimited_meters;
    struct quotas_file_limit *limits;
    unsigned int limits_count;
};

struct quotas_file {
    struct quotas_file_tenant *tenants;
    unsigned int tenants_count;
};

/* NULL: ret_error says what is wrong and where. Free with quotas_file_destroy. */
MUST_CHECK struct quotas_file *quotas_file_load(const char *path,
                                                char ret_error[QUOTAS_FILE_ERROR_BYTES]);
MUST_CHECK struct quotas_file *quotas_file_parse(const char *yaml, size_t len,
                                                 char ret_error[QUOTAS_FILE_ERROR_BYTES]);

/* Accepts NULL. */
void quotas_file_destroy(struct quotas_file *file);

#endif
