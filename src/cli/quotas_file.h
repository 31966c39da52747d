/*
 * Tenants and limits declared in a YAML file, for `holdfast apply`. The form is in src/cli/README.md.
 *
 * What the file does not say is not given here either: apply leaves it as it is on the server. The file
 * is read strictly (cli/document.h), and what is refused is refused with its line. Names, and whether
 * a change is possible, are the server's to judge.
 *
 * Any thread; what comes back belongs to the caller.
 */
#ifndef HOLDFAST_CLI_QUOTAS_FILE_H
#define HOLDFAST_CLI_QUOTAS_FILE_H

#include "base/arena.h"
#include "base/check.h"
#include "cli/document.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QUOTAS_FILE_ERROR_BYTES = DOCUMENT_ERROR_BYTES,
    QUOTAS_FILE_BYTES_MAX = 16 << 20,
};

/* Values of holdfast.v1.Period. */
enum quotas_file_period {
    QUOTAS_FILE_PERIOD_NOT_GIVEN = 0,
    QUOTAS_FILE_PERIOD_NEVER = 1,
    QUOTAS_FILE_PERIOD_MINUTE = 2,
    QUOTAS_FILE_PERIOD_HOUR = 3,
    QUOTAS_FILE_PERIOD_DAY = 4,
    QUOTAS_FILE_PERIOD_WEEK = 5,
    QUOTAS_FILE_PERIOD_MONTH = 6,
    QUOTAS_FILE_PERIOD_YEAR = 7,
};

/* Values of holdfast.v1.RedisAway. */
enum quotas_file_away {
    QUOTAS_FILE_AWAY_NOT_GIVEN = 0,
    QUOTAS_FILE_AWAY_POSTGRES = 1,
    QUOTAS_FILE_AWAY_CLOSED = 2,
    QUOTAS_FILE_AWAY_OPEN = 3,
};

/* The life of a hold; 0 and given: none of its own, the server's maximum. */
struct quotas_file_ttl {
    bool given;
    int64_t us;
};

/* An instant, in seconds since 1970. */
struct quotas_file_instant {
    bool given;
    int64_t seconds;
};

struct quotas_file_limit {
    int line;
    char *limit_id;
    char *meter; /* texts are NULL if not given */
    char *scope;
    enum quotas_file_period period;
    char *time_zone;
    struct quotas_file_instant anchor_time;
    struct document_number amount; /* not together with unlimited: true */
    struct document_flag unlimited;
    struct document_number soft_percent;
    struct document_number overage_percent; /* at most one of these three says that there is one */
    struct document_number overage_units;
    struct document_flag overage_unlimited;
    struct quotas_file_ttl max_ttl;
    enum quotas_file_away redis_away;
    struct document_number redis_away_units; /* only with open, or where the limit has that */
    struct document_flag reserved_crossings;
};

struct quotas_file_tenant {
    int line;
    char *tenant;
    char *display_name; /* NULL if not given */
    struct document_flag suspended;
    struct document_flag admit_unlimited_meters;
    struct document_list limits; /* of struct quotas_file_limit, no two with the same limit_id */
};

struct quotas_file {
    struct arena arena; /* all of it */
    int line;
    struct document_list tenants; /* of struct quotas_file_tenant, no two with the same name */
};

/* path "-": stdin. NULL: ret_error says what is wrong and where. Free with quotas_file_destroy. */
MUST_CHECK struct quotas_file *quotas_file_load(const char *path,
                                                char ret_error[QUOTAS_FILE_ERROR_BYTES]);
MUST_CHECK struct quotas_file *quotas_file_parse(const char *yaml, size_t len,
                                                 char ret_error[QUOTAS_FILE_ERROR_BYTES]);

/* Accepts NULL. */
void quotas_file_destroy(struct quotas_file *file);

#endif
