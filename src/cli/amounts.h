/*
 * Amounts on a command line: METER=UNITS, and for commit METER=UNITS:POLICY.
 *
 * Only the form is checked here. Ranges and names are the server's to judge, so that its errors can
 * be seen from a shell, too: a negative number passes.
 */
#ifndef HOLDFAST_CLI_AMOUNTS_H
#define HOLDFAST_CLI_AMOUNTS_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

enum amount_policy {
    AMOUNT_POLICY_DEFAULT,
    AMOUNT_POLICY_RECORD,
    AMOUNT_POLICY_STRICT,
    AMOUNT_POLICY_CAP,
};

struct amount_argument {
    char *meter; /* points into the text that was parsed */
    int64_t units;
    enum amount_policy policy;
};

/* Cuts `text` in place; it must outlive *ret. False: not of the form, and text is as it was. */
MUST_CHECK bool amount_argument_parse(char *text, struct amount_argument *ret);

/*
 * A whole decimal number, digits alone with an optional '-' (no '_', '+', unit or leading 0); false if
 * anything else, or out of int64_t.
 */
MUST_CHECK bool amount_parse(const char *text, int64_t *ret);

#endif
