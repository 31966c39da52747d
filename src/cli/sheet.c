#include "cli/sheet.h"

#include "base/check.h"

#include <inttypes.h>

bool sheet_balanced(const struct sheet *sheet)
{
    if (sheet->lost || sheet->doubled || sheet->over_admission || sheet->held_after)
        return false;
    if (sheet->ledger_sum != sheet->usage_sum)
        return false;
    if (sheet->failed > 0)
        return sheet->ledger_rows >= sheet->committed && sheet->ledger_sum >= sheet->committed_sum;
    return sheet->ledger_rows == sheet->committed && sheet->ledger_sum == sheet->committed_sum;
}

void sheet_print(const struct sheet *sheet, FILE *out)
{
#define PRINT_COUNT(name, text)                                                                    \
    fprintf(out, "  %-17s %14" PRId64 "  %s\n", #name, sheet->name, text);
    SHEET_COUNTS(PRINT_COUNT)
#undef PRINT_COUNT
#define PRINT_RATE(name, text) fprintf(out, "  %-17s %14.2f  %s\n", #name, sheet->name, text);
    SHEET_RATES(PRINT_RATE)
#undef PRINT_RATE
    fprintf(out, "%s\n",
            sheet_balanced(sheet) ? "The books balance." : "THE BOOKS DO NOT BALANCE.");
}

json_t *sheet_json(const struct sheet *sheet)
{
    json_t *object = json_object();

    CHECK(object);
#define SET_COUNT(name, text) json_object_set_new(object, #name, json_integer(sheet->name));
    SHEET_COUNTS(SET_COUNT)
#undef SET_COUNT
#define SET_RATE(name, text) json_object_set_new(object, #name, json_real(sheet->name));
    SHEET_RATES(SET_RATE)
#undef SET_RATE
    json_object_set_new(object, "verified", json_boolean(sheet->verified));
    json_object_set_new(object, "balanced", json_boolean(sheet_balanced(sheet)));
    return object;
}
