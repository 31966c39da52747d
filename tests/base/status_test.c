#include "base/status.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

Test(status, every_status_has_a_name_and_a_text)
{
    for (int i = 0; i < STATUS_COUNT; i++) {
        cr_assert(strlen(status_name((enum status)i)) > 0);
        cr_assert(strlen(status_text((enum status)i)) > 0);
    }
    cr_assert_str_eq(status_name(STATUS_UNKNOWN), "UNKNOWN");
}

Test(status, only_ok_unknown_and_corrupt_may_have_happened)
{
    for (int i = 0; i < STATUS_COUNT; i++)
        cr_assert_eq(status_may_have_happened((enum status)i),
                     i == STATUS_OK || i == STATUS_UNKNOWN || i == STATUS_CORRUPT);
}

Test(status, out_of_range_is_a_bug, .signal = SIGABRT)
{
    status_name(STATUS_COUNT);
}
