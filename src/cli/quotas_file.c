#include "cli/quotas_file.h"

#include "cli/duration.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const cyaml_strval_t periods[] = {
    {"never", QUOTAS_FILE_PERIOD_NEVER}, {"minute", QUOTAS_FILE_PERIOD_MINUTE},
    {"hour", QUOTAS_FILE_PERIOD_HOUR},   {"day", QUOTAS_FILE_PERIOD_DAY},
    {"month", QUOTAS_FILE_PERIOD_MONTH},
};

#define TEXT_REQUIRED(name, type, member)                                                          \
    CYAML_FIELD_STRING_PTR(name, CYAML_FLAG_POINTER, type, member, 0, CYAML_UNLIMITED)
#define TEXT_OPTIONAL(name, type, member)                                                          \
    CYAML_FIELD_STRING_PTR(name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 0,        \
                           CYAML_UNLIMITED)
#define NUMBER_OPTIONAL(name, member)                                                              \
    CYAML_FIELD_INT_PTR(name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct quotas_file_limit,  \
                        member)

static const cyaml_schema_field_t limit_fields[] = {
    TEXT_REQUIRED("limit_id", struct quotas_file_limit, limit_id),
    TEXT_REQUIRED("meter", struct quotas_file_limit, meter),
    TEXT_OPTIONAL("scope", struct quotas_file_limit, scope),
    CYAML_FIELD_ENUM("period", CYAML_FLAG_STRICT, struct quotas_file_limit, period, periods,
                     CYAML_ARRAY_LEN(periods)),
    NUMBER_OPTIONAL("amount", amount),
    CYAML_FIELD_BOOL("unlimited", CYAML_FLAG_OPTIONAL, struct quotas_file_limit, unlimited),
    CYAML_FIELD_INT("soft_percent", CYAML_FLAG_OPTIONAL, struct quotas_file_limit, soft_percent),
    NUMBER_OPTIONAL("overage_percent", overage_percent),
    NUMBER_OPTIONAL("overage_units", overage_units),
    CYAML_FIELD_BOOL("overage_unlimited", CYAML_FLAG_OPTIONAL, struct quotas_file_limit,
                     overage_unlimited),
    TEXT_OPTIONAL("max_ttl", struct quotas_file_limit, max_ttl),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t limit_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct quotas_file_limit, limit_fields),
};

static const cyaml_schema_field_t tenant_fields[] = {
    TEXT_REQUIRED("tenant", struct quotas_file_tenant, tenant),
    TEXT_OPTIONAL("display_name", struct quotas_file_tenant, display_name),
    CYAML_FIELD_BOOL("suspended", CYAML_FLAG_OPTIONAL, struct quotas_file_tenant, suspended),
    CYAML_FIELD_BOOL("admit_unlimited_meters", CYAML_FLAG_OPTIONAL, struct quotas_file_tenant,
                     admit_unlimited_meters),
    CYAML_FIELD_SEQUENCE("limits", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                         struct quotas_file_tenant, limits, &limit_schema, 0, CYAML_UNLIMITED),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t tenant_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct quotas_file_tenant, tenant_fields),
};

static const cyaml_schema_field_t file_fields[] = {
    CYAML_FIELD_SEQUENCE("tenants", CYAML_FLAG_POINTER, struct quotas_file, tenants,
                         &tenant_schema, 0, CYAML_UNLIMITED),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t file_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct quotas_file, file_fields),
};

/* cyaml tells what is wrong in several lines of log; they become one text. */
static void collect_log(cyaml_log_t level, void *context, const char *format, va_list args)
{
    char *text = context;
    size_t used = strlen(text);

    (void)level;
    if (used + 1 < QUOTAS_FILE_ERROR_BYTES)
        vsnprintf(text + used, QUOTAS_FILE_ERROR_BYTES - used, format, args);
}

static cyaml_config_t config_with_log(char *text)
{
    text[0] = '\0';
    return (cyaml_config_t){
        .log_fn = collect_log,
        .log_ctx = text,
        .log_level = CYAML_LOG_ERROR,
        .mem_fn = cyaml_mem,
        .flags = CYAML_CFG_DEFAULT,
    };
}

/* What the schema cannot say. NULL if good. */
static const char *check_limit(struct quotas_file_limit *limit)
{
    int overages = (limit->overage_percent != NULL) + (limit->overage_units != NULL) +
                   limit->overage_unlimited;

    if ((limit->amount != NULL) == limit->unlimited)
        return "needs either amount or unlimited: true";
    if (overages > 1)
        return "may have one of overage_percent, overage_units and overage_unlimited";
    if (limit->max_ttl && !duration_parse(limit->max_ttl, &limit->max_ttl_us))
        return "max_ttl is not a duration such as 90s or 15m";
    return NULL;
}

static bool check_file(struct quotas_file *file, char *ret_error)
{
    for (unsigned int t = 0; t < file->tenants_count; t++) {
        struct quotas_file_tenant *tenant = &file->tenants[t];

        for (unsigned int i = 0; i < tenant->limits_count; i++) {
            const char *wrong = check_limit(&tenant->limits[i]);

            if (wrong) {
                snprintf(ret_error, QUOTAS_FILE_ERROR_BYTES, "tenant %s, limit %s: %s",
                         tenant->tenant, tenant->limits[i].limit_id, wrong);
                return false;
            }
        }
    }
    return true;
}

static struct quotas_file *loaded(cyaml_err_t result, struct quotas_file *file, char *ret_error)
{
    if (result != CYAML_OK) {
        size_t used = strlen(ret_error);

        snprintf(ret_error + used, QUOTAS_FILE_ERROR_BYTES - used, "%s", cyaml_strerror(result));
        return NULL;
    }
    if (!check_file(file, ret_error)) {
        quotas_file_destroy(file);
        return NULL;
    }
    return file;
}

struct quotas_file *quotas_file_load(const char *path, char ret_error[QUOTAS_FILE_ERROR_BYTES])
{
    cyaml_config_t config = config_with_log(ret_error);
    cyaml_data_t *data = NULL;
    cyaml_err_t result = cyaml_load_file(path, &config, &file_schema, &data, NULL);

    return loaded(result, (struct quotas_file *)data, ret_error);
}

struct quotas_file *quotas_file_parse(const char *yaml, size_t len,
                                      char ret_error[QUOTAS_FILE_ERROR_BYTES])
{
    cyaml_config_t config = config_with_log(ret_error);
    cyaml_data_t *data = NULL;
    cyaml_err_t result =
        cyaml_load_data((const uint8_t *)yaml, len, &config, &file_schema, &data, NULL);

    return loaded(result, (struct quotas_file *)data, ret_error);
}

void quotas_file_destroy(struct quotas_file *file)
{
    char ignored[QUOTAS_FILE_ERROR_BYTES];
    cyaml_config_t config = config_with_log(ignored);

    if (file)
        cyaml_free(&config, &file_schema, (cyaml_data_t *)file, 0);
}
