#include "cli/sheet.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Two jobs of 10 units, both recorded. */
static struct sheet good_sheet(void)
{
    return (struct sheet){.jobs = 2, .reserved = 2, .committed = 2, .committed_sum = 20,
                          .ledger_rows = 2, .ledger_sum = 20, .usage_sum = 20,
                          .reserve_per_s = 123.5};
}

Test(sheet, balances_when_record_and_acknowledgements_agree)
{
    struct sheet sheet = good_sheet();

    cr_assert(sheet_balanced(&sheet));
}

Test(sheet, does_not_balance_when_anything_is_off)
{
    struct sheet sheet = good_sheet();

    sheet.lost = 1;
    cr_assert_not(sheet_balanced(&sheet));
    sheet = good_sheet();
    sheet.doubled = 1;
    cr_assert_not(sheet_balanced(&sheet));
    sheet = good_sheet();
    sheet.held_after = 1;
    cr_assert_not(sheet_balanced(&sheet));
    sheet = good_sheet();
    sheet.over_admission = 1;
    cr_assert_not(sheet_balanced(&sheet));
    sheet = good_sheet();
    sheet.usage_sum = 21;
    cr_assert_not(sheet_balanced(&sheet));
    sheet = good_sheet();
    sheet.ledger_rows = 3;
    cr_assert_not(sheet_balanced(&sheet));
}

Test(sheet, allows_unanswered_calls_to_be_on_the_record)
{
    struct sheet sheet = good_sheet();

    sheet.failed = 1;
    sheet.ledger_rows = 3;
    sheet.ledger_sum = sheet.usage_sum = 30;
    cr_assert(sheet_balanced(&sheet));
    sheet.ledger_rows = 1;
    cr_assert_not(sheet_balanced(&sheet));
}

Test(sheet, writes_every_promised_name_as_json)
{
    static const char *const names[] = {
        "reserved", "committed", "released", "rejected", "expired", "replayed", "ledger_rows",
        "ledger_sum", "usage_sum", "held_after", "over_admission", "lost", "doubled",
        "soft_stop_events", "hard_stop_events", "reserve_per_s", "commit_per_s", "reserve_p99_ms",
        "commit_p99_ms", "balanced", "verified"};
    struct sheet sheet = good_sheet();
    json_t *object = sheet_json(&sheet);

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        cr_assert_not_null(json_object_get(object, names[i]), "%s", names[i]);
    cr_assert_eq(json_integer_value(json_object_get(object, "ledger_sum")), 20);
    cr_assert_eq(json_real_value(json_object_get(object, "reserve_per_s")), 123.5);
    cr_assert(json_is_true(json_object_get(object, "balanced")));
    json_decref(object);
}

Test(sheet, says_in_words_whether_the_books_balance)
{
    struct sheet sheet = good_sheet();
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    sheet_print(&sheet, out);
    sheet.lost = 1;
    sheet_print(&sheet, out);
    fclose(out);
    cr_assert(strstr(text, "The books balance."));
    cr_assert(strstr(text, "THE BOOKS DO NOT BALANCE."));
    cr_assert(strstr(text, "committed_sum"));
    free(text);
}
