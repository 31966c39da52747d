#include "cli/amounts.h"

#include "base/slice.h"

#include <stddef.h>
#include <string.h>

static const char *const policy_names[] = {
    [AMOUNT_POLICY_DEFAULT] = "",
    [AMOUNT_POLICY_RECORD] = "record",
    [AMOUNT_POLICY_STRICT] = "strict",
    [AMOUNT_POLICY_CAP] = "cap",
};

bool amount_parse(const char *text, int64_t *ret)
{
    return slice_to_i64(slice_from_cstr(text), ret);
}

static bool policy_parse(const char *text, enum amount_policy *ret)
{
    for (size_t i = 1; i < ARRAY_COUNT(policy_names); i++) {
        if (strcmp(policy_names[i], text) == 0) {
            *ret = (enum amount_policy)i;
            return true;
        }
    }
    return false;
}

bool amount_argument_parse(char *text, struct amount_argument *ret)
{
    char *equals = strchr(text, '=');
    char *colon = equals ? strchr(equals, ':') : NULL;
    struct amount_argument result = {.meter = text, .policy = AMOUNT_POLICY_DEFAULT};
    bool good;

    if (!equals)
        return false;
    if (colon) {
        if (!policy_parse(colon + 1, &result.policy))
            return false;
        *colon = '\0';
    }
    good = amount_parse(equals + 1, &result.units);
    if (!good) {
        if (colon)
            *colon = ':';
        return false;
    }
    *equals = '\0';
    *ret = result;
    return true;
}
